-- Three roles for syncd.  Run this as a superuser or as the database's owner, then
-- `syncd schema --apply` with a login that is a member of syncd_owner, then this once
-- more: it may be run as often as you like.
--
--   syncd_owner   migrates the schema and makes tables; used by `syncd schema --apply` alone
--   syncd_writer  the daemon; writes rows, changes no table
--   syncd_reader  people and dashboards
--
-- Make logins that are members of them, such as:
--   CREATE ROLE syncd LOGIN PASSWORD '…' IN ROLE syncd_writer;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['syncd_owner', 'syncd_writer', 'syncd_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO syncd_owner', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO syncd_writer, syncd_reader', current_database());
END
$$;

-- What syncd remembers.
CREATE SCHEMA IF NOT EXISTS syncd;
GRANT USAGE, CREATE ON SCHEMA syncd TO syncd_owner;
GRANT USAGE ON SCHEMA syncd TO syncd_writer, syncd_reader;
GRANT ALL ON ALL TABLES IN SCHEMA syncd TO syncd_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA syncd TO syncd_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA syncd TO syncd_reader;
DO $$
BEGIN
    -- Bought tokens, though sealed, are nobody's but the daemon's.
    IF to_regclass('syncd.vault') IS NOT NULL THEN
        REVOKE ALL ON syncd.vault FROM syncd_reader;
    END IF;
    -- With the salt a guess at who was forgotten could be tried.
    IF to_regclass('syncd.salt') IS NOT NULL THEN
        REVOKE ALL ON syncd.salt FROM syncd_reader;
    END IF;
END
$$;
ALTER DEFAULT PRIVILEGES FOR ROLE syncd_owner IN SCHEMA syncd
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO syncd_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE syncd_owner IN SCHEMA syncd
    GRANT SELECT ON TABLES TO syncd_reader;
