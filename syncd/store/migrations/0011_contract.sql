-- How the APIs' data has left what the config says of it, and the columns that were added for it.

CREATE TABLE syncd.drift (
    source      text NOT NULL,
    stream      text NOT NULL,
    what        text NOT NULL CHECK (what IN ('new-field', 'wrong-type')),
    name        text NOT NULL,
    found       text NOT NULL,
    rule        text NOT NULL CHECK (rule IN ('discard', 'evolve', 'freeze', 'dead-letter')),
    records     bigint NOT NULL DEFAULT 0,
    first_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    cycle       bigint,
    accepted_at timestamptz,
    PRIMARY KEY (source, stream, what, name, found)
);
COMMENT ON TABLE syncd.drift IS 'How each stream''s data leaves its contract; a row goes when a whole cycle does not meet it.';
COMMENT ON COLUMN syncd.drift.name IS 'The new field, or the column of the wrong type; empty: more than are told one by one.';
COMMENT ON COLUMN syncd.drift.found IS 'Of a wrong type: what JSON calls it; else empty.';
COMMENT ON COLUMN syncd.drift.records IS 'Of a wrong type: so many records had it.';
COMMENT ON COLUMN syncd.drift.cycle IS 'The last that met it.';
COMMENT ON COLUMN syncd.drift.accepted_at IS 'Since when nobody needs to be alarmed: somebody has seen it, or it was so when the stream was new.';

CREATE TABLE syncd.evolved (
    number      bigint GENERATED ALWAYS AS IDENTITY,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    column_name text NOT NULL,
    type        text NOT NULL,
    field       text NOT NULL,
    instead_of  text NOT NULL,
    source      text NOT NULL,
    stream      text NOT NULL,
    added_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_name, table_name, column_name)
);
COMMENT ON TABLE syncd.evolved IS 'Columns of your tables that `contract = evolve` has added, beside those of the config.';
COMMENT ON COLUMN syncd.evolved.field IS 'The field that fills it; empty where `instead_of` is not.';
COMMENT ON COLUMN syncd.evolved.instead_of IS 'The column whose values it takes where they do not fit there.';
COMMENT ON COLUMN syncd.evolved.source IS 'Whose data first brought it, with `stream`.';

ALTER TABLE syncd.checkpoint ADD COLUMN fields_known boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN syncd.checkpoint.fields_known IS 'A whole cycle has ended since fields are looked at: one that comes now is new.';

ALTER TABLE syncd.alarm ADD COLUMN about text NOT NULL DEFAULT '';
ALTER TABLE syncd.alarm DROP CONSTRAINT alarm_pkey;
ALTER TABLE syncd.alarm ADD PRIMARY KEY (receiver, instance, kind, source, stream, about);
COMMENT ON COLUMN syncd.alarm.about IS 'Which of several alarms of one kind it is; empty where there is but one.';
