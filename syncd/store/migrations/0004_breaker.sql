-- Why nobody of a source asks its API, for who looks from outside.

ALTER TABLE syncd.lease
    ADD COLUMN failing_since timestamptz, ADD COLUMN failing_reason text,
    ADD COLUMN next_probe timestamptz;
COMMENT ON COLUMN syncd.lease.failing_since IS 'Since when the API fails everybody; null when it does not.';
COMMENT ON COLUMN syncd.lease.failing_reason IS 'What the last request to it came to.';
COMMENT ON COLUMN syncd.lease.next_probe IS 'When one request is sent to see whether it is well again.';
