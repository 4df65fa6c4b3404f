-- Bought access tokens and refresh tokens, sealed by a key that the database does not know.

CREATE TABLE syncd.vault (
    source        text PRIMARY KEY,
    version       bigint NOT NULL DEFAULT 0,
    sealed        bytea,
    ends_at       timestamptz NOT NULL DEFAULT 'epoch',
    claimed_until timestamptz NOT NULL DEFAULT 'epoch'
);
COMMENT ON TABLE syncd.vault IS 'What the logins of each source have bought, encrypted.';
COMMENT ON COLUMN syncd.vault.version IS 'Grows with each login: who has an older one reads again.';
COMMENT ON COLUMN syncd.vault.ends_at IS 'When the access token ends.';
COMMENT ON COLUMN syncd.vault.claimed_until IS 'Until then one process alone logs in.';

-- People who read tables have no use for it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'syncd_reader') THEN
        REVOKE ALL ON syncd.vault FROM syncd_reader;
    END IF;
END
$$;
