-- What operators ask of a running syncd, and cycles of a few records beside the whole ones.

ALTER TABLE syncd.checkpoint ADD COLUMN paused_at timestamptz, ADD COLUMN paused_by text;
COMMENT ON COLUMN syncd.checkpoint.paused_at IS 'Since when an operator has the stream paused; null when none has.';

ALTER TABLE syncd.cycle ADD COLUMN aside boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN syncd.cycle.aside IS 'A few records that were asked for, not a pass over the whole list.';

CREATE TABLE syncd.request (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('sync', 'pause', 'resume', 'reset', 'retry', 'reload')),
    source      text NOT NULL,
    stream      text,
    subjects    text[] NOT NULL DEFAULT '{}',
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_by    text NOT NULL,
    taken_at    timestamptz,
    ended_at    timestamptz,
    ok          boolean,
    answer      text NOT NULL DEFAULT ''
);
CREATE INDEX request_not_taken ON syncd.request (source) WHERE taken_at IS NULL;
COMMENT ON TABLE syncd.request IS 'What operators asked of a running syncd, and what it answered.';
COMMENT ON COLUMN syncd.request.stream IS 'Null: the whole syncd that runs the source is meant.';
COMMENT ON COLUMN syncd.request.subjects IS 'Keys of records, or ids of dead letters.';
