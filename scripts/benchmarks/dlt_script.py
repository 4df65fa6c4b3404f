"""How does dlt do it?  As its documents say: its rest_api source, merged by key.

    PYTHON-WITH-DLT dlt_script.py URL POSTGRES-URL FOLDER --size 1000

It runs in an environment of its own, and imports nothing of ours.
"""

import argparse
import os

# Before dlt is imported, which reads it then: no benchmark tells anybody.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
from dlt.sources.rest_api import rest_api_source

CHANGES = {
    "incremental": {
        "start_param": "updated_since",
        "cursor_path": "updated_at",
        "initial_value": "2000-01-01T00:00:00Z",
    }
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("postgres")
    parser.add_argument("folder", help="for what it puts aside between its steps")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--changes", action="store_true", help="only what has changed since")
    asked = parser.parse_args()
    source = rest_api_source(
        {
            "client": {
                "base_url": asked.url,
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "total_path": None,
                    "has_more_path": "has_more",
                },
            },
            "resources": [
                {
                    "name": "records",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "columns": {"amount": {"data_type": "decimal"}},
                    "endpoint": {
                        "path": "records",
                        "params": {"limit": asked.size},
                        "data_selector": "data",
                        **(CHANGES if asked.changes else {}),
                    },
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=asked.folder,
        destination=dlt.destinations.postgres(asked.postgres),
        dataset_name="bench",
    )
    pipeline.run(source).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
