-- Records that were forgotten for good, known by a keyed hash alone.

CREATE TABLE syncd.salt (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL
);
COMMENT ON TABLE syncd.salt IS 'The secret of the keyed hashes (HMAC-SHA256), as its two pads. Without it they say nothing.';

CREATE TABLE syncd.kept_out (
    source   text NOT NULL,
    stream   text NOT NULL,
    hash     bytea NOT NULL,
    key_is   text NOT NULL,
    lasting  boolean NOT NULL,
    version  bigint NOT NULL,
    since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, stream, hash)
);
COMMENT ON TABLE syncd.kept_out IS 'Records that no page may bring back: `syncd forget`.';
COMMENT ON COLUMN syncd.kept_out.hash IS 'Of source, stream and the record''s canonical key, with syncd.salt.';
COMMENT ON COLUMN syncd.kept_out.key_is IS 'The columns of the stream''s key and their types, as they were then.';
COMMENT ON COLUMN syncd.kept_out.lasting IS 'False: only from pages that were fetched before; it goes when the next cycle begins.';
COMMENT ON COLUMN syncd.kept_out.version IS 'checkpoint.kept_out_version, as it became with this row.';

ALTER TABLE syncd.checkpoint ADD COLUMN kept_out_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN syncd.checkpoint.kept_out_version IS 'Grows when another record is kept out, or let in.';

ALTER TABLE syncd.cycle ADD COLUMN kept_out bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN syncd.cycle.kept_out IS 'Of left_out: records that are kept out because they were forgotten.';

-- People who read tables have no use for it: with it a guess can be tried.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'syncd_reader') THEN
        REVOKE ALL ON syncd.salt FROM syncd_reader;
    END IF;
END
$$;
