-- Cycles that begin by a calendar.

ALTER TABLE syncd.checkpoint ADD COLUMN schedule text;
COMMENT ON COLUMN syncd.checkpoint.schedule IS 'The cron expressions and the zone by which next_start was found; null: by the interval.';
