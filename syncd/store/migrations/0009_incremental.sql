-- Cycles that ask only for what has changed since a mark.

ALTER TABLE syncd.cycle ADD COLUMN since text;
COMMENT ON COLUMN syncd.cycle.since IS 'The high-water mark from which it asks for what has changed; null: for the whole list.';

ALTER TABLE syncd.checkpoint ADD COLUMN high_seen text, ADD COLUMN api_clock double precision;
COMMENT ON COLUMN syncd.checkpoint.high_water IS 'How far the stream has come, in the API''s own words; moves with the end of a good cycle.';
COMMENT ON COLUMN syncd.checkpoint.high_seen IS 'The highest mark of the running cycle so far.';
COMMENT ON COLUMN syncd.checkpoint.api_clock IS 'The API''s clock when the running cycle asked for its first page, in epoch seconds.';
