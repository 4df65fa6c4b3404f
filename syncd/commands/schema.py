"""`syncd schema`: what does the database still need?"""

import click
import trio

from syncd.app import database
from syncd.commands.options import Options
from syncd.store.migrate import roles_sql


def schema(options: Options, *, apply_it: bool, roles: bool) -> None:
    settings = options.settings()
    tables = [database.table(s) for x in settings.sources.values() for s in x.streams.values()]
    if roles:
        click.echo(roles_sql(tables))
        return

    async def main() -> list[str]:
        async with database.store(settings, migrations=False) as store:
            done = []
            todo = await (store.apply() if apply_it else store.pending())
            for migration in todo:
                done.append(f"-- migration {migration.number:04}_{migration.name}")
                done += [] if apply_it else [migration.script]
            for table in tables:
                made = await (store.make_table(table) if apply_it else store.missing_table(table))
                done += [statement + ";" for statement in made]
            return done

    done = trio.run(main)
    for line in done:
        click.echo(line)
    if not done:
        click.echo("-- the schema is as this syncd needs it")
