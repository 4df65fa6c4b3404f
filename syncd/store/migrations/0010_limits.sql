-- What the API says is left of its limits lowers the budget until they begin anew.

ALTER TABLE syncd.budget ADD COLUMN quota_left bigint,
    ADD COLUMN quota_until timestamptz NOT NULL DEFAULT 'epoch',
    ADD COLUMN quota_as_of timestamptz NOT NULL DEFAULT 'epoch';
COMMENT ON COLUMN syncd.budget.quota_left IS 'What the API said is left, where that is fewer than the budget has.';
COMMENT ON COLUMN syncd.budget.quota_until IS 'Until then; it is over if that has passed.';
COMMENT ON COLUMN syncd.budget.quota_as_of IS 'When the API had counted the request that it said so of.';

ALTER TABLE syncd.token ADD COLUMN withheld_until timestamptz NOT NULL DEFAULT 'epoch';
COMMENT ON COLUMN syncd.token.withheld_until IS 'Nobody takes it until then: the API says that fewer are left.';
