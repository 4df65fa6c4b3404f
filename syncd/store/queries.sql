-- Every statement that syncd runs on its own tables, named and described.  Statements on
-- your tables are composed from your names in tables.py.  All times are clock_timestamp():
-- now() stands still within a transaction, and a token must not.

-- name: begin
-- Opens each transaction.  No session state: this works behind PgBouncer as well.
BEGIN;
SET LOCAL statement_timeout = '30s';
SET LOCAL lock_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL TimeZone = 'UTC';

-- name: begin_page
-- A page's rows are found by their keys, one by one.  A table that has grown since Postgres last
-- looked at it is taken for a small one, and would be read as a whole for each of them.
BEGIN;
SET LOCAL statement_timeout = '30s';
SET LOCAL lock_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL TimeZone = 'UTC';
SET LOCAL enable_seqscan = off;

-- name: commit
-- Where commits are asynchronous a crash of Postgres would take back what we rely on: spent
-- tokens, settled calls, the lease.  What is stricter than `on` is left as it is.
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') = 'off';
COMMIT;

-- name: rollback
ROLLBACK;

-- name: constraints_now
-- A deferred constraint would refuse the whole page at COMMIT, too late to halve it.
SET CONSTRAINTS ALL IMMEDIATE;

-- name: begin_half
SAVEPOINT half;

-- name: undo_half
-- The bad rows' half is as if it had never been tried.
ROLLBACK TO SAVEPOINT half;
RELEASE SAVEPOINT half;

-- name: keep_half
RELEASE SAVEPOINT half;

-- name: take_tokens
-- Takes of each budget as many tokens as the request costs, those that have been free the longest;
-- of all of them, or of none.  With them the intent of a call is stored.  Nothing happens if the
-- lease is no longer ours, a budget is held, or the call is done.  A row that another taker has
-- locked counts as taken: nobody waits for a lock, so that no two can wait for each other.
WITH lease AS (
    SELECT 1 WHERE %(source)s::text IS NULL
    UNION ALL
    SELECT 1 FROM syncd.lease WHERE source = %(source)s AND fence = %(fence)s
), done AS (
    SELECT 1 FROM syncd.call WHERE idempotency_key = %(key)s AND outcome = 'done'
), wanted AS (
    SELECT w.budget, w.cost, w.lifetime, b.from_answers, b.quota_until,
           CASE WHEN b.hold_until > clock_timestamp()
                THEN extract(epoch FROM b.hold_until - clock_timestamp())::float8 END AS held
    FROM unnest(%(budgets)s::text[], %(costs)s::int[], %(lifetimes)s::float8[])
         AS w (budget, cost, lifetime) LEFT JOIN syncd.budget b ON b.name = w.budget
), picked AS (
    SELECT w.budget, w.lifetime, w.quota_until, t.number
    FROM wanted w CROSS JOIN LATERAL (
        SELECT number FROM syncd.token
        WHERE budget = w.budget AND NOT retired AND withheld_until <= clock_timestamp()
          AND (free_at <= clock_timestamp()
               OR (budget, number, version) IN (SELECT * FROM unnest(
                   %(watched)s::text[], %(numbers)s::int[], %(versions)s::bigint[])))
          AND EXISTS (SELECT FROM lease) AND NOT EXISTS (SELECT FROM done)
          AND NOT EXISTS (SELECT FROM wanted WHERE held IS NOT NULL)
        ORDER BY free_at LIMIT w.cost FOR UPDATE SKIP LOCKED) AS t
), taken AS (
    UPDATE syncd.token t
    SET version = t.version + 1, counted_at = NULL, spent_on = %(spent_on)s,
        free_at = clock_timestamp() + make_interval(secs => p.lifetime),
        withheld_until = p.quota_until
    -- By arrays: a planner that can't tell how few these are would read the whole table.
    FROM unnest(ARRAY(SELECT budget FROM picked), ARRAY(SELECT number FROM picked),
                ARRAY(SELECT lifetime FROM picked), ARRAY(SELECT quota_until FROM picked))
         AS p (budget, number, lifetime, quota_until)
    WHERE t.budget = p.budget AND t.number = p.number
      AND (SELECT count(*) FROM picked) = (SELECT sum(cost) FROM wanted)
    RETURNING t.budget, t.number, t.version
), intent AS (
    INSERT INTO syncd.call (idempotency_key, source, stream, cycle, record_key)
    SELECT %(key)s, %(source)s, %(stream)s, %(cycle)s, %(record_key)s
    WHERE %(key)s::text IS NOT NULL AND EXISTS (SELECT FROM taken)
    ON CONFLICT (idempotency_key) DO NOTHING
)
SELECT EXISTS (SELECT FROM lease), EXISTS (SELECT FROM done),
       w.budget, w.held, w.from_answers, taken.number, taken.version
FROM wanted w LEFT JOIN taken ON taken.budget = w.budget;

-- name: tokens_in_use
-- What nobody can take now, and for how long: for what was spent, and for what the API says.
SELECT w.budget, t.number, t.version, extract(epoch FROM t.free_at - clock_timestamp())::float8,
       extract(epoch FROM t.withheld_until - clock_timestamp())::float8
FROM unnest(%(budgets)s::text[]) AS w (budget) CROSS JOIN LATERAL (
    SELECT * FROM syncd.token
    WHERE budget = w.budget AND NOT retired ORDER BY free_at LIMIT 1000) AS t;

-- name: settle_tokens
-- When each request was counted, and so when its token is free.
UPDATE syncd.token AS t
SET counted_at = clock_timestamp() - make_interval(secs => s.since),
    free_at = clock_timestamp() + make_interval(secs => s.takes - s.since)
FROM unnest(%(numbers)s::int[], %(versions)s::bigint[], %(since)s::float8[], %(takes)s::float8[])
     AS s (number, version, since, takes)
WHERE t.budget = %(budget)s AND t.number = s.number AND t.version = s.version;

-- name: give_back
-- The tokens were never written: they are free now.
UPDATE syncd.token SET version = version + 1, free_at = clock_timestamp(), spent_on = NULL,
       withheld_until = 'epoch'
WHERE budget = %(budget)s
  AND (number, version) IN (SELECT * FROM unnest(%(numbers)s::int[], %(versions)s::bigint[]));

-- name: ensure_budget
INSERT INTO syncd.budget (name, per) VALUES (%(budget)s, %(per)s) ON CONFLICT DO NOTHING;

-- name: seed_budget
-- What the same requests were spent from has counted in the last `per`, or has in flight, where
-- that is more than this budget knows of itself.  Its own tokens make room: they owe less.
WITH kin AS (
    SELECT name FROM syncd.budget
    WHERE name = %(seed)s OR (starts_with(name, %(seed)s || ' per ') AND strpos(name, ' of /') = 0)
), owed AS (
    SELECT t.budget, t.number, t.counted_at, t.spent_on,
           CASE WHEN t.counted_at IS NULL THEN t.free_at
                ELSE t.counted_at + make_interval(secs => %(takes)s) END AS owes_until
    FROM syncd.token t WHERE t.budget = %(budget)s OR t.budget IN (SELECT name FROM kin)
), many AS (
    SELECT budget, count(*) AS owes FROM owed WHERE owes_until > clock_timestamp() GROUP BY budget
), most AS (
    SELECT budget FROM many
    WHERE budget <> %(budget)s
      AND owes > coalesce((SELECT owes FROM many WHERE budget = %(budget)s), 0)
    ORDER BY owes DESC LIMIT 1
), gone AS (
    DELETE FROM syncd.token WHERE budget = %(budget)s AND EXISTS (SELECT FROM most)
)
INSERT INTO syncd.token (budget, number, counted_at, free_at, spent_on)
SELECT %(budget)s,
       (SELECT coalesce(max(number), 0) FROM syncd.token WHERE budget = %(budget)s)
           + row_number() OVER (ORDER BY o.number),
       o.counted_at, o.owes_until, o.spent_on
FROM owed o JOIN most USING (budget) WHERE o.owes_until > clock_timestamp();

-- name: lock_budget
-- As it stood, and nobody else changes it meanwhile.
SELECT per, from_answers, greatest(0, extract(epoch FROM hold_until - clock_timestamp()))::float8
FROM syncd.budget WHERE name = %(budget)s FOR UPDATE;

-- name: set_per
UPDATE syncd.budget SET per = %(per)s WHERE name = %(budget)s;

-- name: stretch_debts
-- A longer `per` holds for what was already spent, too; a shorter one for what comes.
UPDATE syncd.token
SET free_at = greatest(free_at, CASE
    WHEN counted_at IS NOT NULL THEN counted_at + make_interval(secs => %(takes)s)
    ELSE free_at + make_interval(secs => %(longer)s) END)
WHERE budget = %(budget)s AND free_at > clock_timestamp() - make_interval(secs => %(longer)s);

-- name: forget_debts
-- A retired token that is free owes nothing any more.
DELETE FROM syncd.token
WHERE budget = %(budget)s AND retired AND free_at <= clock_timestamp();

-- name: retire_tokens
-- Fewer requests: those that are free first leave.  They keep what they owe, in case
-- the number grows again within `per`; so it comes to no more than the largest number.
UPDATE syncd.token SET retired = r.retired
FROM (SELECT number, row_number() OVER (ORDER BY free_at DESC, number) > %(requests)s AS retired
      FROM syncd.token WHERE budget = %(budget)s) AS r
WHERE budget = %(budget)s AND token.number = r.number AND token.retired <> r.retired;

-- name: add_tokens
-- More requests: new tokens are free.
INSERT INTO syncd.token (budget, number)
SELECT %(budget)s, there.last + n
FROM (SELECT coalesce(max(number), 0) AS last, count(*) AS many
      FROM syncd.token WHERE budget = %(budget)s) AS there,
     generate_series(1, %(requests)s - there.many) AS n;

-- name: hold_budget
UPDATE syncd.budget
SET hold_until = greatest(hold_until, clock_timestamp() + make_interval(secs => %(seconds)s))
WHERE name = %(budget)s;

-- name: note_quota
-- The API says how many are left until a moment.  Of those go the requests that it counts later
-- than the one that was answered so: those in flight, and those counted since.  The tokens that
-- are free the soonest can be had, each once until then; the others are withheld.  What was said
-- of a later request stands; but none can lie in the future, unless the clock was stepped back.
WITH answered AS (
    SELECT clock_timestamp() - make_interval(secs => %(since)s) AS counted,
           clock_timestamp() + make_interval(secs => %(seconds)s) AS until
), later AS (
    SELECT count(*) AS spent
    FROM syncd.token t, answered a
    WHERE t.budget = %(budget)s AND (t.number, t.version) <> (%(number)s, %(version)s)
      AND (t.counted_at > a.counted OR (t.counted_at IS NULL AND t.free_at > clock_timestamp()))
), there AS (
    SELECT number, row_number() OVER (ORDER BY free_at, number) AS rank, count(*) OVER () AS many
    FROM syncd.token WHERE budget = %(budget)s AND NOT retired
), lowered AS (
    SELECT greatest(0, %(left)s - l.spent) AS usable,
           greatest(0, %(left)s - l.spent) <= coalesce((SELECT max(many) FROM there), 0) AS binds
    FROM later l
), noted AS (
    UPDATE syncd.budget b
    SET quota_left = %(left)s, quota_as_of = a.counted,
        quota_until = CASE WHEN l.binds THEN a.until ELSE 'epoch' END,
        hold_until = CASE WHEN %(left)s = 0 THEN greatest(b.hold_until, a.until)
                     ELSE b.hold_until END
    FROM answered a, lowered l
    WHERE b.name = %(budget)s
      AND (b.quota_as_of <= a.counted OR b.quota_as_of > clock_timestamp() + interval '1 minute')
    RETURNING b.quota_until, l.usable
)
UPDATE syncd.token t
SET withheld_until = CASE WHEN there.rank > noted.usable THEN noted.quota_until ELSE 'epoch' END
FROM noted, there
WHERE t.budget = %(budget)s AND t.number = there.number
  AND t.withheld_until <> CASE WHEN there.rank > noted.usable THEN noted.quota_until ELSE 'epoch' END;

-- name: count_from_answers
UPDATE syncd.budget SET from_answers = true WHERE name = %(budget)s;

-- name: store_intent
-- The intent of a call of a source without a budget, if the lease is ours and it is not done.
WITH lease AS (
    SELECT 1 FROM syncd.lease WHERE source = %(source)s AND fence = %(fence)s
), done AS (
    SELECT 1 FROM syncd.call WHERE idempotency_key = %(key)s AND outcome = 'done'
), intent AS (
    INSERT INTO syncd.call (idempotency_key, source, stream, cycle, record_key)
    SELECT %(key)s, %(source)s, %(stream)s, %(cycle)s, %(record_key)s FROM lease
    ON CONFLICT (idempotency_key) DO NOTHING
)
SELECT EXISTS (SELECT FROM lease), EXISTS (SELECT FROM done);

-- name: ledger
SELECT idempotency_key, outcome, kept, reason FROM syncd.call
WHERE idempotency_key = ANY (%(keys)s);

-- name: settle_calls
-- The first settlement of a call stands: a late copy changes nothing.  Only an outcome that
-- was not known then may become known.
INSERT INTO syncd.call (idempotency_key, source, stream, cycle, record_key,
                        outcome, settled_at, kept, reason)
SELECT s.key, s.source, s.stream, s.cycle, s.record_key, s.outcome, clock_timestamp(), s.kept, s.reason
FROM unnest(%(keys)s::text[], %(sources)s::text[], %(streams)s::text[], %(cycles)s::bigint[],
            %(record_keys)s::text[], %(outcomes)s::text[], %(kept)s::text[], %(reasons)s::text[])
     AS s (key, source, stream, cycle, record_key, outcome, kept, reason)
ON CONFLICT (idempotency_key) DO UPDATE
SET outcome = EXCLUDED.outcome, settled_at = EXCLUDED.settled_at, kept = EXCLUDED.kept,
    reason = EXCLUDED.reason
WHERE syncd.call.outcome = 'open'
   OR (syncd.call.outcome = 'unknown' AND EXCLUDED.outcome IN ('done', 'failed'));

-- name: forget_calls
-- Those that failed are as if they had never been tried; those whose outcome is not known
-- only if a person, or the API, says that they may be repeated.
DELETE FROM syncd.call
WHERE idempotency_key = ANY (%(keys)s)
  AND (outcome = 'failed' OR (%(unknown)s AND outcome <> 'done'));

-- name: withdraw_intents
-- Calls that the API has refused to carry out are as if they had never been tried.  The lease's
-- row is locked: whoever takes the source over meanwhile makes of them what he finds.
WITH lease AS (
    SELECT 1 FROM syncd.lease WHERE source = %(source)s AND fence = %(fence)s FOR SHARE
)
DELETE FROM syncd.call
WHERE idempotency_key = ANY (%(keys)s) AND outcome = 'open' AND EXISTS (SELECT FROM lease);

-- name: purge_ledger
-- Calls of cycles before the last ended one in turn (those out of turn share its calls), in
-- batches; what a dead letter refers to stays.  How many left, and whether there were any at all.
WITH gone AS (
    DELETE FROM syncd.call WHERE idempotency_key IN (
        SELECT c.idempotency_key FROM syncd.call c
        WHERE c.source = %(source)s AND c.stream = %(stream)s
          AND c.cycle < (SELECT max(id) FROM syncd.cycle
                         WHERE source = %(source)s AND stream = %(stream)s
                           AND ended_at IS NOT NULL AND NOT aside AND follows IS NULL)
          AND NOT EXISTS (SELECT FROM syncd.dead_letter d
                          WHERE d.source = c.source AND d.stream = c.stream
                            AND d.idempotency_key = c.idempotency_key)
        LIMIT %(batch)s)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone),
       EXISTS (SELECT FROM syncd.call WHERE source = %(source)s AND stream = %(stream)s);

-- name: ensure_lease
INSERT INTO syncd.lease (source) VALUES (%(source)s) ON CONFLICT DO NOTHING;

-- name: lock_lease
SELECT holder, fence, extract(epoch FROM expires_at - clock_timestamp())::float8,
       to_char(taken_at, 'YYYY-MM-DD HH24:MI:SS "UTC"')
FROM syncd.lease WHERE source = %(source)s FOR UPDATE;

-- name: fence_of_lease
SELECT fence FROM syncd.lease WHERE source = %(source)s;

-- name: shorten_lease
-- It ends later than any that was just renewed: the clock was stepped back since.  Who holds
-- it renews it; the lease of a dead one runs out in its time.
UPDATE syncd.lease SET expires_at = clock_timestamp() + make_interval(secs => %(lasts)s)
WHERE source = %(source)s;

-- name: take_lease
-- The fence grows with time as well, so that none is given twice when an older state of the
-- database is restored: a holder from before would take the new lease for its own.
UPDATE syncd.lease
SET fence = greatest(fence + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
    holder = %(holder)s, taken_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(lasts)s),
    failing_since = NULL, failing_reason = NULL, next_probe = NULL
WHERE source = %(source)s RETURNING fence;

-- name: raise_fences
-- With a takeover, whatever the former holder has still under way can't be committed; calls of his
-- may be settled all the same, so that once more is looked for those that were forgotten.
UPDATE syncd.checkpoint SET fence = %(fence)s, tidied_version = 0 WHERE source = %(source)s;

-- name: renew_leases
UPDATE syncd.lease AS l SET expires_at = clock_timestamp() + make_interval(secs => %(lasts)s)
FROM unnest(%(sources)s::text[], %(fences)s::bigint[]) AS ours (source, fence)
WHERE l.source = ours.source AND l.fence = ours.fence RETURNING l.source, l.fence;

-- name: release_leases
UPDATE syncd.lease AS l SET expires_at = 'epoch', holder = NULL,
    failing_since = NULL, failing_reason = NULL, next_probe = NULL
FROM unnest(%(sources)s::text[], %(fences)s::bigint[]) AS ours (source, fence)
WHERE l.source = ours.source AND l.fence = ours.fence;

-- name: post_failing
-- Null for all three: the API is well.
UPDATE syncd.lease
SET failing_since = clock_timestamp() - make_interval(secs => %(since)s::float8),
    failing_reason = %(reason)s,
    next_probe = clock_timestamp() + make_interval(secs => %(next_probe)s::float8)
WHERE source = %(source)s AND fence = %(fence)s;

-- name: ensure_checkpoint
INSERT INTO syncd.checkpoint (source, stream, fence) VALUES (%(source)s, %(stream)s, %(fence)s)
ON CONFLICT DO NOTHING;

-- name: plan_next_start
-- From the start of the last whole cycle, whatever the interval was then; a stream that was
-- reset, or never ran, has none.  What parked it is to be tried again.
UPDATE syncd.checkpoint AS k
SET parked = NULL, schedule = NULL, next_start = CASE WHEN k.next_start IS NOT NULL THEN (
    SELECT c.started_at + make_interval(secs => %(every)s) FROM syncd.cycle c
    WHERE c.source = %(source)s AND c.stream = %(stream)s AND c.outcome IN ('ok', 'suspicious')
      AND NOT c.aside AND c.follows IS NULL
    ORDER BY c.id DESC LIMIT 1) END
WHERE k.source = %(source)s AND k.stream = %(stream)s AND k.fence = %(fence)s;

-- name: lock_schedule
SELECT schedule, extract(epoch FROM next_start)::float8,
       extract(epoch FROM clock_timestamp())::float8
FROM syncd.checkpoint
WHERE source = %(source)s AND stream = %(stream)s AND fence = %(fence)s FOR UPDATE;

-- name: follow_schedule
-- What parked it is to be tried again.
UPDATE syncd.checkpoint
SET parked = NULL, schedule = %(schedule)s, next_start = to_timestamp(%(next_start)s::float8)
WHERE source = %(source)s AND stream = %(stream)s AND fence = %(fence)s;

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- name: abandon_asides
-- A syncd that is no more had begun them; not a row of theirs was written.
UPDATE syncd.cycle SET ended_at = clock_timestamp(), outcome = 'abandoned',
    reason = reason || '; syncd ended before it was done'
WHERE source = %(source)s AND stream = %(stream)s AND aside AND ended_at IS NULL;

-- name: read_checkpoint
SELECT k.seq, k.fence, k.cycle, k.cursor, k.pages, k.fingerprint, k.last_page,
       extract(epoch FROM k.next_start - clock_timestamp())::float8, k.paused_at IS NOT NULL,
       coalesce(k.extra_due, ''), c.follows, coalesce(c.reconcile, false), coalesce(k.question, ''),
       c.since, k.high_seen, k.api_clock, k.kept_out_version,
       EXISTS (SELECT FROM syncd.known_page p WHERE p.source = k.source AND p.stream = k.stream),
       extract(epoch FROM clock_timestamp())::float8
FROM syncd.checkpoint k LEFT JOIN syncd.cycle c ON c.id = k.cycle
WHERE k.source = %(source)s AND k.stream = %(stream)s;

-- name: lock_checkpoint
-- Waits for a lost backend that may still commit: a plain read would show the old state.
SELECT k.seq, k.fence, k.cycle, k.cursor, k.pages, k.fingerprint, k.last_page,
       extract(epoch FROM k.next_start - clock_timestamp())::float8, k.paused_at IS NOT NULL,
       coalesce(k.extra_due, ''), c.follows, coalesce(c.reconcile, false), coalesce(k.question, ''),
       c.since, k.high_seen, k.api_clock, k.kept_out_version,
       EXISTS (SELECT FROM syncd.known_page p WHERE p.source = k.source AND p.stream = k.stream),
       extract(epoch FROM clock_timestamp())::float8
FROM syncd.checkpoint k LEFT JOIN syncd.cycle c ON c.id = k.cycle
WHERE k.source = %(source)s AND k.stream = %(stream)s FOR UPDATE OF k;

-- name: cycle_started
-- To the microsecond, in text: a part of what the keys of its calls follow from.
SELECT extract(epoch FROM started_at)::text FROM syncd.cycle WHERE id = %(cycle)s;

-- name: take_up_cycle
UPDATE syncd.cycle SET taken_up = taken_up + 1, reason = '' WHERE id = %(cycle)s
RETURNING seen, written, unchanged, left_out, dead, folded, calls, requests, retried, refused,
          kept_out;

-- name: abandon_cycle
UPDATE syncd.cycle SET ended_at = clock_timestamp(), outcome = 'abandoned', reason = %(reason)s
WHERE id = %(cycle)s;

-- name: insert_cycle
-- An extra one follows the last whole cycle, if there is one.  It reconciles if that was asked
-- for, or is due by its interval (null: never by itself).  It asks only for what has changed if
-- the last good cycle of the whole list began less than `full` seconds ago (null: once is enough);
-- an extra one asks as the one that it follows; one that reconciles, for the whole list.
INSERT INTO syncd.cycle (source, stream, follows, reconcile, since)
SELECT source, stream, follows, reconcile,
       CASE WHEN follows IS NOT NULL
            THEN (SELECT f.since FROM syncd.cycle f WHERE f.id = k.follows)
            -- One that began in the future did so before a clock was stepped back.
            WHEN NOT reconcile AND whole < clock_timestamp() AND whole >= coalesce(
                clock_timestamp() - make_interval(secs => %(full)s::float8), 'epoch')
            THEN high_water END
FROM (
    SELECT source, stream, high_water,
           CASE WHEN %(extra)s THEN (
               SELECT max(id) FROM syncd.cycle
               WHERE source = %(source)s AND stream = %(stream)s AND NOT aside
                 AND follows IS NULL AND outcome IN ('ok', 'suspicious')) END AS follows,
           reconcile_due OR coalesce(%(reconcile)s::float8 < extract(epoch FROM clock_timestamp()
                                     - coalesce(reconciled_at, 'epoch')), false) AS reconcile,
           (SELECT started_at FROM syncd.cycle
            WHERE source = %(source)s AND stream = %(stream)s AND NOT aside
              AND follows IS NULL AND since IS NULL AND outcome = 'ok'
            ORDER BY id DESC LIMIT 1) AS whole
    FROM syncd.checkpoint WHERE source = %(source)s AND stream = %(stream)s) AS k
RETURNING id;

-- name: forget_mark
-- Other settings may mean something else by it: the next cycle asks for the whole list.
UPDATE syncd.checkpoint SET high_water = NULL WHERE source = %(source)s AND stream = %(stream)s;

-- name: reach
-- How far a stream has come with a good cycle.
UPDATE syncd.checkpoint SET high_water = %(high_water)s
WHERE source = %(source)s AND stream = %(stream)s;

-- name: forget_seen
DELETE FROM syncd.seen WHERE source = %(source)s AND stream = %(stream)s;

-- name: forget_missing
-- Other settings may list other records: what their scans missed says nothing.
DELETE FROM syncd.missing WHERE source = %(source)s AND stream = %(stream)s;

-- name: learn_anew
-- From the next cycle on.
UPDATE syncd.checkpoint SET usual_from = coalesce((
    SELECT max(id) FROM syncd.cycle WHERE source = %(source)s AND stream = %(stream)s), 0)
WHERE source = %(source)s AND stream = %(stream)s;

-- name: begin_aside
INSERT INTO syncd.cycle (source, stream, aside, reason)
VALUES (%(source)s, %(stream)s, true, %(reason)s)
RETURNING id, extract(epoch FROM started_at)::text;

-- name: reset_checkpoint
-- The next cycle begins at once, at its first page.
UPDATE syncd.checkpoint
SET seq = seq + 1, cycle = NULL, cursor = NULL, pages = 0, last_page = NULL, fingerprint = '',
    next_start = NULL, parked = NULL, extra_due = NULL
WHERE source = %(source)s AND stream = %(stream)s;

-- name: enter_cycle
-- A schedule's due times are covered by the cycle that begins: the next start moves with it.
UPDATE syncd.checkpoint
SET seq = seq + 1, cycle = %(cycle)s, cursor = NULL, pages = 0, last_page = NULL,
    fingerprint = %(fingerprint)s, parked = NULL, extra_due = NULL, high_seen = NULL,
    api_clock = NULL, next_start = coalesce(to_timestamp(%(next_start)s::float8), next_start)
WHERE source = %(source)s AND stream = %(stream)s AND seq = %(seq)s AND fence = %(fence)s
RETURNING seq;

-- name: unpark
UPDATE syncd.checkpoint SET parked = NULL
WHERE source = %(source)s AND stream = %(stream)s AND parked IS NOT NULL;

-- name: move_checkpoint
-- The step that everything a page writes hangs on.  Also a part of the upsert in statements.py.
UPDATE syncd.checkpoint AS c
SET seq = seq + %(many)s,
    cursor = CASE WHEN %(aside)s THEN cursor ELSE %(next_cursor)s END,
    last_page = CASE WHEN %(aside)s THEN last_page ELSE %(last_page)s END,
    cycle = CASE WHEN %(ends)s THEN NULL ELSE cycle END,
    pages = CASE WHEN %(aside)s THEN pages WHEN %(ends)s THEN 0 ELSE pages + %(many)s END,
    next_start = CASE WHEN %(ends)s AND %(rest)s::float8 IS NOT NULL THEN
        (SELECT started_at FROM syncd.cycle WHERE id = c.cycle)
        + make_interval(secs => %(rest)s) ELSE next_start END,
    extra_due = coalesce(%(extra_due)s::text, extra_due),
    high_seen = CASE WHEN %(aside)s THEN high_seen ELSE %(high_seen)s::text END,
    api_clock = CASE WHEN %(aside)s THEN api_clock ELSE %(api_clock)s::float8 END
WHERE source = %(source)s AND stream = %(stream)s AND seq = %(seq)s AND fence = %(fence)s
RETURNING source, clock_timestamp() AS at, extract(epoch FROM next_start - clock_timestamp())::float8
              AS left_until, paused_at IS NOT NULL AS paused, coalesce(extra_due, '') AS extra_due,
          coalesce(question, '') AS question, kept_out_version;

-- name: in_vain
-- Nearly all that the cycle has met so far was new or differed: no filter pays then.
(SELECT written > 0.9 * seen FROM syncd.cycle WHERE id = %(cycle)s)

-- name: mixed
-- Whether of several pages nobody can tell what of them is in the table: it has a trigger that could
-- change a row before it is written (bits 1 and 2: BEFORE, for each row), or texts of which two that
-- differ may be equal.
SELECT %(many)s > 1 AND (EXISTS (
    SELECT FROM pg_trigger g
    WHERE g.tgrelid IN (SELECT {table}::oid UNION ALL SELECT relid FROM pg_partition_tree({table}))
      AND NOT g.tgisinternal AND g.tgtype & 3 = 3
) OR EXISTS (
    SELECT FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = {table} AND NOT c.collisdeterministic
)) AS mixed

-- name: turning
-- Pages of a cycle that goes on, each with its moment: the checkpoint has moved (m) over them.
-- A microsecond apart, as all that they change names its page by it.
SELECT m.source, m.at + (n - 1) * interval '1 microsecond' AS at, g.*
FROM m, unnest(%(request)s::text[], %(seen)s::integer[], %(rows)s::integer[],
               %(left_out)s::integer[], %(folded)s::integer[])
        WITH ORDINALITY AS g (request, seen, rows, left_out, folded, n)

-- name: turn_pages
-- What such pages (k) leave beside their rows: the rest of the statement that has moved the
-- checkpoint (m) and written them (w), and tells whether they are mixed up now (d).  Of what was
-- written and is no change nobody can tell whose it is: where that can be, a page comes alone, and
-- here it is counted with the last.
v AS (
    SELECT at, count(*)::integer AS many, array_agg(key) AS changed FROM w GROUP BY at
), s AS (
    SELECT k.at, k.n, k.request, k.seen, k.rows, k.left_out, k.folded,
           coalesce(v.many, 0) AS many, coalesce(v.changed, '{}') AS changed,
           coalesce(v.many, 0) + CASE WHEN k.n < %(many)s THEN 0
               ELSE (SELECT coalesce(sum(many), 0) FROM v) - sum(coalesce(v.many, 0)) OVER ()
               END AS written
    FROM k LEFT JOIN v USING (at)
), n AS (
    INSERT INTO syncd.page (source, stream, cycle, number, committed_at, request, seen, written,
                            unchanged, left_out, dead, folded, many, changed)
    SELECT %(source)s, %(stream)s, %(cycle)s, %(number)s + n - 1, at, request, seen, written,
           rows - written, left_out, 0, folded, many, changed
    FROM s WHERE many > 0 ORDER BY n
), t AS (
    SELECT sum(seen) AS seen, sum(written) AS written, sum(rows - written) AS unchanged,
           sum(left_out) AS left_out, sum(folded) AS folded, array_agg(written ORDER BY n) AS each
    FROM s
), c AS (
    UPDATE syncd.cycle c
    SET pages = pages + %(many)s, seen = c.seen + t.seen, written = c.written + t.written,
        unchanged = c.unchanged + t.unchanged, left_out = c.left_out + t.left_out,
        folded = c.folded + t.folded, calls = calls + %(calls)s,
        kept_out = kept_out + %(kept_out)s, requests = requests + %(requests)s,
        retried = retried + %(retried)s, refused = refused + %(refused)s,
        reason = CASE WHEN aside THEN reason ELSE '' END
    FROM m, t WHERE c.id = %(cycle)s
    RETURNING c.seen, c.written, c.unchanged, c.left_out, c.dead, c.folded, c.calls, c.requests,
              c.retried, c.refused, c.kept_out
)
SELECT d.mixed, t.each::integer[], m.at, m.left_until, m.paused, m.extra_due, m.question,
       m.kept_out_version, extract(epoch FROM m.at)::float8,
       EXISTS (SELECT FROM syncd.dead_letter
               WHERE source = %(source)s AND stream = %(stream)s),
       c.*
FROM m, t, c, d;

-- name: note_page
-- Only of a page that changed something: a row's _syncd_changed_at then names its page.
INSERT INTO syncd.page (source, stream, cycle, number, committed_at, request, seen, written,
                        unchanged, left_out, dead, folded, many, changed)
VALUES (%(source)s, %(stream)s, %(cycle)s, %(number)s, %(at)s, %(request)s, %(seen)s, %(written)s,
        %(unchanged)s, %(left_out)s, %(dead)s, %(folded)s, %(many)s, %(changed)s);

-- name: note_event
INSERT INTO syncd.event (source, stream, at, what, cycle, page, kind, reason, many, keys)
VALUES (%(source)s, %(stream)s, coalesce(%(at)s::timestamptz, clock_timestamp()), %(what)s,
        %(cycle)s, %(page)s, %(kind)s, %(reason)s, %(many)s, %(keys)s);

-- name: note_retried
-- Before it is known what comes of it.
INSERT INTO syncd.event (source, stream, at, what, cycle, page, many, keys)
SELECT %(source)s, %(stream)s, %(at)s, 'retried', %(cycle)s::bigint, %(page)s::integer,
       count(*), array_agg(key)
FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND id = ANY (%(ids)s) AND key IS NOT NULL
HAVING count(*) > 0;

-- name: note_missing
-- Rows that this scan is the first not to meet.
INSERT INTO syncd.event (source, stream, at, what, cycle, many, keys)
SELECT %(source)s, %(stream)s, %(at)s, 'missing', %(cycle)s::bigint, count(*),
       CASE WHEN count(*) <= %(most)s THEN array_agg(key::text) ELSE '{}' END
FROM syncd.missing
WHERE source = %(source)s AND stream = %(stream)s AND cycle = %(cycle)s
HAVING count(*) > 0;

-- name: streams_to_purge
-- All that sources of ours ever had, whether the config has them still or not.  Of others nobody
-- here knows for how long they keep what they have.
SELECT k.source, k.stream FROM syncd.checkpoint k JOIN syncd.lease l ON l.source = k.source
WHERE (l.source, l.fence) IN (SELECT * FROM unnest(%(sources)s::text[], %(fences)s::bigint[]))
ORDER BY k.source, k.stream;

-- name: purge_pages
-- What is too old, and what comes before the newest so many keys: in batches.
WITH counted AS (
    SELECT id, committed_at, sum(many) OVER (ORDER BY committed_at DESC, id DESC) AS keys
    FROM syncd.page WHERE source = %(source)s AND stream = %(stream)s
)
DELETE FROM syncd.page WHERE id IN (
    SELECT id FROM counted
    WHERE committed_at < clock_timestamp() - make_interval(secs => %(keep)s)
       OR keys > %(keys)s
    LIMIT %(batch)s);

-- name: purge_events
DELETE FROM syncd.event WHERE id IN (
    SELECT id FROM syncd.event
    WHERE source = %(source)s AND stream = %(stream)s
      AND at < clock_timestamp() - make_interval(secs => %(keep)s)
    LIMIT %(batch)s);

-- name: purge_cycles
-- What ended too long ago, and what comes before the newest so many: in batches.  Those that
-- something still hangs on stay, however many have come after them: the first one (is it known from
-- the beginning on?), the last good ones, by which the next start and its mark are told, and those
-- that what is usual is learned from.
WITH c AS NOT MATERIALIZED (
    SELECT * FROM syncd.cycle WHERE source = %(source)s AND stream = %(stream)s
), in_turn AS NOT MATERIALIZED (
    SELECT * FROM c WHERE NOT aside AND follows IS NULL AND outcome IN ('ok', 'suspicious')
), kept AS (
    (SELECT id FROM c ORDER BY id LIMIT 1)
    UNION ALL
    (SELECT id FROM in_turn ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT id FROM in_turn WHERE outcome = 'ok' ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT id FROM in_turn WHERE outcome = 'ok' AND since IS NULL ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT id FROM in_turn WHERE since IS NULL AND seen > 0 ORDER BY id DESC LIMIT %(learned)s)
)
DELETE FROM syncd.cycle WHERE id IN (
    SELECT id FROM c
    WHERE ended_at IS NOT NULL AND id NOT IN (SELECT id FROM kept)
      AND (ended_at < clock_timestamp() - make_interval(secs => %(keep)s)
           OR id <= (SELECT id FROM c ORDER BY id DESC OFFSET %(kept)s LIMIT 1))
    ORDER BY id LIMIT %(batch)s);

-- name: count_page
-- The cycle's sums; with its last page also how it ended.
UPDATE syncd.cycle
SET pages = pages + 1, seen = seen + %(seen)s, written = written + %(written)s,
    unchanged = unchanged + %(unchanged)s, left_out = left_out + %(left_out)s,
    dead = dead + %(dead)s, folded = folded + %(folded)s, calls = calls + %(calls)s,
    kept_out = kept_out + %(kept_out)s,
    requests = requests + %(requests)s, retried = retried + %(retried)s,
    refused = refused + %(refused)s, noted = noted + %(noted)s, keyless = keyless + %(keyless)s,
    ended_at = CASE WHEN %(outcome)s::text IS NOT NULL THEN clock_timestamp() END,
    outcome = %(outcome)s, reason = CASE WHEN aside THEN reason ELSE %(reason)s END
WHERE id = %(cycle)s;

-- name: past
-- What the last whole cycles came to, the newest first: what is usual is learned from them.
SELECT seen, written,
       CASE WHEN taken_up = 0 THEN extract(epoch FROM ended_at - started_at)::float8 END
FROM syncd.cycle
WHERE source = %(source)s AND stream = %(stream)s AND outcome IN ('ok', 'suspicious')
  AND NOT aside AND follows IS NULL AND since IS NULL AND seen > 0
  AND id > (SELECT usual_from FROM syncd.checkpoint
            WHERE source = %(source)s AND stream = %(stream)s)
ORDER BY id DESC LIMIT %(limit)s;

-- name: cycle
SELECT outcome, reason, seen, written, unchanged, left_out, dead, folded, calls, requests,
       retried, refused, kept_out
FROM syncd.cycle WHERE id = %(cycle)s;

-- name: put_aside
-- A dead letter that comes again counts its attempts instead of standing there twice.  It is
-- an event if it is new, was tried again, or has another reason now.
WITH before AS (
    SELECT reason, attempts FROM syncd.dead_letter
    WHERE source = %(source)s AND stream = %(stream)s AND identity = %(identity)s
      AND kind = %(kind)s
), told AS (
    INSERT INTO syncd.event (source, stream, at, what, cycle, page, kind, reason, many, keys)
    SELECT %(source)s, %(stream)s, %(at)s, 'put-aside', %(cycle)s::bigint, %(page)s::integer,
           %(kind)s, %(reason)s, 1, ARRAY[%(key)s::text]
    WHERE %(key)s::text IS NOT NULL AND (%(tried)s OR NOT EXISTS (
        SELECT FROM before WHERE reason = %(reason)s OR attempts >= %(most)s))
)
INSERT INTO syncd.dead_letter (source, stream, kind, identity, key, reason, cycle, payload,
                               target, schema_version, idempotency_key, next_try)
VALUES (%(source)s, %(stream)s, %(kind)s, %(identity)s, %(key)s, %(reason)s, %(cycle)s,
        %(payload)s, %(target)s, %(schema_version)s, %(idempotency_key)s,
        CASE WHEN %(again)s THEN clock_timestamp() END)
ON CONFLICT (source, stream, identity, kind) DO UPDATE
SET attempts = syncd.dead_letter.attempts + 1, last_at = clock_timestamp(),
    next_try = CASE
        WHEN %(again)s AND syncd.dead_letter.attempts < %(tries)s
        THEN clock_timestamp() + make_interval(
            secs => least(%(later)s * 2 ^ (syncd.dead_letter.attempts - 1), 86400)) END,
    reason = EXCLUDED.reason, payload = EXCLUDED.payload, cycle = EXCLUDED.cycle,
    target = EXCLUDED.target, schema_version = EXCLUDED.schema_version;

-- name: drop_keyless
-- Of records whose key can't be told: a whole cycle has not met them again.
DELETE FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND key IS NULL AND cycle < %(cycle)s;

-- name: resolve_dead
-- Records that succeeded now, or that are deleted, need nobody any more.
WITH gone AS (
    DELETE FROM syncd.dead_letter
    WHERE source = %(source)s AND stream = %(stream)s AND identity = ANY (%(keys)s)
    RETURNING key, kind
)
INSERT INTO syncd.event (source, stream, at, what, cycle, page, kind, reason, many, keys)
SELECT %(source)s, %(stream)s, %(at)s, %(what)s, %(cycle)s::bigint, %(page)s::integer, kind,
       %(reason)s, count(*), array_agg(key)
FROM gone WHERE key IS NOT NULL GROUP BY kind;

-- name: settle_letters
-- Letters that were tried again and leave: their row was written now, or a rule leaves it out,
-- or the record lies aside for another reason.
DELETE FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND id = ANY (%(ids)s)
RETURNING id, key, kind;

-- name: letters
SELECT id, kind, key, reason, payload, idempotency_key FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND id = ANY (%(ids)s) ORDER BY id;

-- name: due_letters
-- Those whose call is worth another try by itself.
SELECT id, kind, key, reason, payload, idempotency_key FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND next_try <= clock_timestamp()
ORDER BY next_try LIMIT %(limit)s;

-- name: purge_letters
DELETE FROM syncd.dead_letter WHERE id IN (
    SELECT id FROM syncd.dead_letter
    WHERE source = %(source)s AND stream = %(stream)s
      AND last_at < clock_timestamp() - make_interval(secs => %(keep)s)
    LIMIT %(batch)s);

-- name: note_trouble
UPDATE syncd.cycle
SET reason = %(reason)s, calls = calls + %(calls)s, requests = requests + %(requests)s,
    retried = retried + %(retried)s, refused = refused + %(refused)s
WHERE id = %(cycle)s AND EXISTS (
    SELECT FROM syncd.checkpoint
    WHERE source = %(source)s AND stream = %(stream)s AND fence = %(fence)s);

-- name: park
UPDATE syncd.checkpoint SET parked = %(reason)s
WHERE source = %(source)s AND stream = %(stream)s AND fence = %(fence)s;

-- name: scan
-- The facts of a scan that has ended, and how it ended.
SELECT c.taken_up, c.noted, c.keyless, c.outcome, c.reason, c.follows IS NOT NULL,
       (SELECT count(*) FROM syncd.seen s WHERE s.source = c.source AND s.stream = c.stream),
       (SELECT count(*) FROM syncd.missing m WHERE m.source = c.source AND m.stream = c.stream),
       clock_timestamp()
FROM syncd.cycle c WHERE c.id = %(cycle)s;

-- name: count_missing
SELECT count(*) FILTER (WHERE cycle = %(cycle)s),
       count(*) FILTER (WHERE cycle < %(cycle)s AND NOT approved)
FROM syncd.missing WHERE source = %(source)s AND stream = %(stream)s;

-- name: forget_deleted
-- They have left the table now, which is what is remembered of them.
WITH gone AS (
    DELETE FROM syncd.missing
    WHERE source = %(source)s AND stream = %(stream)s AND cycle < %(cycle)s
      AND (approved OR %(all)s)
    RETURNING key, approved
)
INSERT INTO syncd.event (source, stream, at, what, cycle, reason, many, keys)
SELECT %(source)s, %(stream)s, %(at)s, 'deleted', %(cycle)s::bigint,
       CASE WHEN approved THEN 'an operator approved it' ELSE '' END, count(*),
       CASE WHEN count(*) <= %(most)s THEN array_agg(key::text) ELSE '{}' END
FROM gone GROUP BY approved;

-- name: end_scan
UPDATE syncd.cycle SET missing = %(missing)s, deleted = %(deleted)s,
    reason = concat_ws('; ', nullif(reason, ''), nullif(%(note)s, ''))
WHERE id = %(cycle)s;

-- name: settle_scan
-- A complete one; what it missed for the first time is looked for once more.
UPDATE syncd.checkpoint SET seq = seq + 1, question = %(question)s, reconcile_due = %(due)s,
    extra_due = CASE WHEN %(at_once)s THEN 'to see whether what was missing still is'
                     ELSE extra_due END,
    reconciled_at = (SELECT started_at FROM syncd.cycle WHERE id = %(cycle)s)
WHERE source = %(source)s AND stream = %(stream)s;

-- name: pass_over_scan
-- A broken one: the next whole cycle is another try, at once if rows may have slipped by.
UPDATE syncd.checkpoint SET seq = seq + 1, reconcile_due = true,
    extra_due = coalesce(%(again)s::text, extra_due)
WHERE source = %(source)s AND stream = %(stream)s;

-- name: reconciled
SELECT coalesce(c.missing, 0), c.deleted, coalesce(k.question, ''), c.reason
FROM syncd.cycle c JOIN syncd.checkpoint k ON k.source = c.source AND k.stream = c.stream
WHERE c.id = %(cycle)s;

-- name: ask_to_reconcile
UPDATE syncd.checkpoint SET seq = seq + 1, reconcile_due = true, extra_due = %(why)s
WHERE source = %(source)s AND stream = %(stream)s;

-- name: approve_missing
-- What is missing now may go, and what is usual is learned anew.
WITH m AS (
    UPDATE syncd.missing SET approved = true
    WHERE source = %(source)s AND stream = %(stream)s
)
UPDATE syncd.checkpoint SET question = NULL, usual_from = coalesce((
    SELECT max(id) FROM syncd.cycle WHERE source = %(source)s AND stream = %(stream)s), 0)
WHERE source = %(source)s AND stream = %(stream)s;

-- name: standing
-- The running cycle of a stream, else its last one.
SELECT c.id, coalesce(k.pages, c.pages), c.outcome, c.reason, k.parked,
       c.seen, c.written, c.unchanged, c.left_out, c.dead, c.folded, c.calls, c.requests,
       c.retried, c.refused, c.kept_out
FROM syncd.cycle c
LEFT JOIN syncd.checkpoint k ON k.cycle = c.id
WHERE c.source = %(source)s AND c.stream = %(stream)s AND NOT c.aside
ORDER BY c.id DESC LIMIT 1;

-- name: calls_of_stream
SELECT idempotency_key, record_key, outcome, extract(epoch FROM settled_at)::float8
FROM syncd.call WHERE source = %(source)s AND stream = %(stream)s
  AND cycle = (SELECT max(id) FROM syncd.cycle WHERE source = %(source)s AND stream = %(stream)s);

-- name: count_dead
SELECT count(*) FROM syncd.dead_letter WHERE source = %(source)s AND stream = %(stream)s;

-- name: table_columns
-- Columns of a table as they stand, in order.
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
  AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: table_keys
-- The columns of each unique index of a table that an upsert can be told to use.
SELECT array_agg(a.attname::text ORDER BY a.attname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(i.indkey[0:i.indnkeyatts - 1]) AS k (attnum)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND i.indisunique AND i.indimmediate
  AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid;

-- name: table_rights
-- Who we are, whether we may enter the schema, and what we may not do with the table.
SELECT current_user::text, has_schema_privilege(n.oid, 'USAGE'), ARRAY(
    SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
    WHERE NOT has_table_privilege(c.oid, p))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s;

-- name: evolved_exists
-- Whether the migration that remembers added columns was applied.
SELECT to_regclass('syncd.evolved') IS NOT NULL;

-- name: evolved
-- The columns that were added to a table, in order, and whether each is there.
SELECT e.column_name, e.type, e.field, e.instead_of, EXISTS (
    SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = e.schema_name AND c.relname = e.table_name AND a.attname = e.column_name
      AND a.attnum > 0 AND NOT a.attisdropped)
FROM syncd.evolved e
WHERE e.schema_name = %(schema)s AND e.table_name = %(table)s ORDER BY e.number;

-- name: note_evolved
INSERT INTO syncd.evolved (schema_name, table_name, column_name, type, field, instead_of, source,
                           stream)
VALUES (%(schema)s, %(table)s, %(column)s, %(type)s, %(field)s, %(instead_of)s, %(source)s,
        %(stream)s);

-- name: noted_drifts
SELECT what, name, found FROM syncd.drift WHERE source = %(source)s AND stream = %(stream)s;

-- name: note_drifts
-- A new field of a stream that is new itself needs nobody's look, unless records are put aside;
-- nor does what was accepted, unless they are now and were not before.
INSERT INTO syncd.drift AS o (source, stream, what, name, found, rule, records, cycle, accepted_at)
SELECT k.source, k.stream, d.what, d.name, d.found, d.rule, d.records,
       coalesce(%(cycle)s::bigint, k.cycle),
       CASE WHEN d.what = 'new-field' AND d.rule IN ('discard', 'evolve') AND NOT k.fields_known
            THEN clock_timestamp() END
FROM syncd.checkpoint k, jsonb_to_recordset(%(drifts)s::jsonb)
     AS d (what text, name text, found text, rule text, records bigint)
WHERE k.source = %(source)s AND k.stream = %(stream)s
ON CONFLICT (source, stream, what, name, found) DO UPDATE
SET rule = excluded.rule, records = o.records + excluded.records, cycle = excluded.cycle,
    last_at = clock_timestamp(),
    accepted_at = CASE WHEN o.rule = excluded.rule OR excluded.rule <> 'dead-letter'
                       THEN o.accepted_at END
RETURNING what, name, found, rule, records, accepted_at IS NOT NULL;

-- name: settle_drifts
-- What a whole cycle of the whole list did not meet is true no more.
WITH known AS (
    UPDATE syncd.checkpoint SET fields_known = true
    WHERE source = %(source)s AND stream = %(stream)s AND NOT fields_known
)
DELETE FROM syncd.drift
WHERE source = %(source)s AND stream = %(stream)s AND coalesce(cycle, 0) < %(cycle)s;

-- name: unaccepted_drifts
SELECT what, name, found, rule, records FROM syncd.drift
WHERE source = %(source)s AND stream = %(stream)s AND accepted_at IS NULL
ORDER BY first_at, what, name, found;

-- name: accept_drifts
-- Somebody has seen them; all, if no names are given.
UPDATE syncd.drift SET accepted_at = clock_timestamp()
WHERE source = %(source)s AND stream = %(stream)s AND accepted_at IS NULL
  AND (%(names)s::text[] = '{}' OR name = ANY (%(names)s))
RETURNING name;

-- name: known_page
-- What a 304 would stand for.  Not after so many seconds, whatever the API says of it: people may
-- have changed rows.  A clock that was stepped back counts as long.  Also a part of the look into
-- known_pages.py, which adds that the table is as it was, and not empty.
SELECT p.judged, p.validator, p.of_time, p.next_cursor, p.total, p.records, p.left_out, p.folded,
       p.fingerprint, p.keys
FROM syncd.known_page p JOIN syncd.checkpoint k USING (source, stream)
WHERE source = %(source)s AND stream = %(stream)s AND p.asked = %(asked)s
  AND p.judged = %(judged)s AND p.validator IS NOT NULL
  AND p.kept_out_version = k.kept_out_version
  AND p.read_at BETWEEN clock_timestamp() - make_interval(secs => %(whole)s) AND clock_timestamp();

-- name: table_is
-- Another text where the table was made anew, truncated, rewritten, or has other columns.
SELECT concat_ws(' ', c.oid, pg_relation_filenode(c.oid), md5(string_agg(
           concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
GROUP BY c.oid;

-- name: keys_of_known
SELECT keys, validator IS NOT NULL FROM syncd.known_page
WHERE source = %(source)s AND stream = %(stream)s AND asked = %(asked)s;

-- name: know_page
-- The keys of one whose keys are the same are left where they are: they need no WAL.
INSERT INTO syncd.known_page AS p
    (source, stream, asked, read_in, judged, table_is, kept_out_version, validator, of_time,
     next_cursor, total, records, left_out, folded, fingerprint, keys)
SELECT k.source, k.stream, %(asked)s, %(cycle)s, %(judged)s, %(table_is)s,
       k.kept_out_version, %(validator)s, %(of_time)s, %(next_cursor)s, %(total)s, %(records)s,
       %(left_out)s, %(folded)s, %(fingerprint)s, %(keys)s::bigint[]
FROM syncd.checkpoint k WHERE k.source = %(source)s AND k.stream = %(stream)s
ON CONFLICT (source, stream, asked) DO UPDATE
SET read_in = excluded.read_in, read_at = excluded.read_at,
    judged = excluded.judged, table_is = excluded.table_is,
    kept_out_version = excluded.kept_out_version, validator = excluded.validator,
    of_time = excluded.of_time, next_cursor = excluded.next_cursor, total = excluded.total,
    records = excluded.records, left_out = excluded.left_out, folded = excluded.folded,
    fingerprint = excluded.fingerprint,
    keys = CASE WHEN p.keys = excluded.keys THEN p.keys ELSE excluded.keys END;

-- name: meet_known_page
-- 304s: none is met if what it stands for was forgotten, or is another, since it was asked for.
-- To mark the known page itself would write more WAL than a page that was read and has not changed.
INSERT INTO syncd.met_page (source, stream, cycle, asked)
SELECT source, stream, %(cycle)s, p.asked
FROM syncd.known_page p JOIN syncd.checkpoint k USING (source, stream),
     unnest(%(asked)s::text[], %(validator)s::text[], %(judged)s::text[])
         AS a (asked, validator, judged)
WHERE source = %(source)s AND stream = %(stream)s AND p.asked = a.asked
  AND p.validator = a.validator AND p.judged = a.judged
  AND p.kept_out_version = k.kept_out_version;

-- name: unknow_pages
-- Of the stream: all, or all others.
DELETE FROM syncd.known_page
WHERE source = %(source)s AND stream = %(stream)s
  AND asked IS DISTINCT FROM %(but)s::text;

-- name: unknow_pages_with
-- Of the others those that hold one of the keys.  Looked up by the keys alone, or each page of the
-- stream would be compared with all of them.
DELETE FROM syncd.known_page
WHERE source = %(source)s AND stream = %(stream)s
  AND asked <> %(but)s
  AND ctid = ANY (ARRAY(SELECT ctid FROM syncd.known_page WHERE keys && %(keys)s::bigint[]));

-- name: unknow_unmet_pages
-- At the end of a whole cycle.
WITH met AS (
    DELETE FROM syncd.met_page WHERE source = %(source)s AND stream = %(stream)s
    RETURNING cycle, asked
)
DELETE FROM syncd.known_page p
WHERE p.source = %(source)s AND p.stream = %(stream)s AND p.read_in <> %(cycle)s
  AND NOT EXISTS (SELECT FROM met WHERE met.cycle = %(cycle)s AND met.asked = p.asked);

-- name: known_was_met
-- Whether the cycle has had a page that was not read.
SELECT EXISTS (SELECT FROM syncd.met_page
               WHERE source = %(source)s AND stream = %(stream)s AND cycle = %(cycle)s);

-- name: schema_exists
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s);

-- name: migrations_exist
-- Not to_regclass: it may answer from a cache that is older than the lock we waited for.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'syncd' AND c.relname = 'migration');

-- name: migrations
SELECT number, checksum FROM syncd.migration ORDER BY number;

-- name: lock_migrations
-- One migration at a time in this database; ends with the transaction.
SELECT pg_advisory_xact_lock(7095427108);

-- name: lock_briefly
-- Who waits for a lock on a table that is altered has all its readers wait behind him.
SET LOCAL lock_timeout = '2s';

-- name: first_migration
CREATE SCHEMA IF NOT EXISTS syncd;
CREATE TABLE IF NOT EXISTS syncd.migration (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp());

-- name: note_migration
INSERT INTO syncd.migration (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s);

-- name: look_consistently
-- All that one command shows is of one moment; takes no lock that anybody waits for.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: look_at_clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- name: look_at_streams
-- Where each stream stands: its running cycle, its last whole one, its dead letters.
SELECT s.source, s.stream, k.parked, extract(epoch FROM k.paused_at)::float8, k.paused_by,
       extract(epoch FROM k.next_start)::float8,
       CASE WHEN k.cycle IS NOT NULL THEN k.pages END,
       k.cycle,
       (SELECT id FROM syncd.cycle c
        WHERE c.source = s.source AND c.stream = s.stream AND c.outcome IN ('ok', 'suspicious')
          AND NOT c.aside AND c.follows IS NULL
        ORDER BY id DESC LIMIT 1),
       (SELECT id FROM syncd.cycle c
        WHERE c.source = s.source AND c.stream = s.stream AND c.outcome = 'ok'
          AND NOT c.aside AND c.follows IS NULL
        ORDER BY id DESC LIMIT 1),
       (SELECT count(*) FROM syncd.dead_letter d WHERE d.source = s.source AND d.stream = s.stream),
       k.question, extract(epoch FROM k.reconciled_at)::float8, k.extra_due,
       (SELECT count(*) FROM syncd.missing m WHERE m.source = s.source AND m.stream = s.stream),
       (SELECT count(*) FROM syncd.drift r WHERE r.source = s.source AND r.stream = s.stream
          AND r.accepted_at IS NULL),
       (SELECT count(*) FROM syncd.kept_out o
        WHERE o.source = s.source AND o.stream = s.stream AND o.lasting)
FROM unnest(%(sources)s::text[], %(streams)s::text[]) AS s (source, stream)
LEFT JOIN syncd.checkpoint k ON k.source = s.source AND k.stream = s.stream;

-- name: look_at_these_cycles
SELECT id, source, stream, extract(epoch FROM started_at)::float8,
       extract(epoch FROM ended_at)::float8, outcome, reason, taken_up, pages, aside, follows,
       reconcile, since, missing, deleted, seen, written, unchanged, left_out, dead, folded, calls, requests, retried, refused,
       kept_out
FROM syncd.cycle WHERE id = ANY (%(ids)s);

-- name: look_at_last_cycles
-- The newest first; of one stream, or of all if none is named.
SELECT id, source, stream, extract(epoch FROM started_at)::float8,
       extract(epoch FROM ended_at)::float8, outcome, reason, taken_up, pages, aside, follows,
       reconcile, since, missing, deleted, seen, written, unchanged, left_out, dead, folded, calls, requests, retried, refused,
       kept_out
FROM syncd.cycle
WHERE %(source)s::text IS NULL OR (source = %(source)s AND stream = %(stream)s)
ORDER BY id DESC LIMIT %(limit)s;

-- name: look_at_leases
-- Who runs each source; released leases have no holder.
SELECT source, holder, extract(epoch FROM taken_at)::float8,
       extract(epoch FROM expires_at)::float8, expires_at > clock_timestamp(),
       extract(epoch FROM failing_since)::float8, failing_reason,
       extract(epoch FROM next_probe)::float8
FROM syncd.lease WHERE source = ANY (%(sources)s) AND holder IS NOT NULL;

-- name: look_at_spent_tokens
-- What the last window of each budget was spent on, the longest ago first.
SELECT budget, number, counted_at, free_at, spent_on FROM (
    SELECT t.budget, t.number, extract(epoch FROM t.counted_at)::float8 AS counted_at,
           extract(epoch FROM t.free_at)::float8 AS free_at, t.spent_on,
           row_number() OVER (PARTITION BY t.budget ORDER BY t.free_at DESC) AS rank
    FROM syncd.token t
    WHERE t.budget = ANY (%(budgets)s) AND NOT t.retired AND t.free_at > clock_timestamp()
) AS spent
WHERE rank <= %(most)s ORDER BY budget, free_at;

-- name: look_at_budgets
SELECT b.name, b.per, b.from_answers, extract(epoch FROM b.hold_until)::float8,
       count(t.number) FILTER (WHERE NOT t.retired),
       count(t.number) FILTER (WHERE NOT t.retired AND t.free_at <= clock_timestamp()
                                                   AND t.withheld_until <= clock_timestamp()),
       extract(epoch FROM min(greatest(t.free_at, t.withheld_until)) FILTER (
           WHERE NOT t.retired
             AND greatest(t.free_at, t.withheld_until) > clock_timestamp()))::float8,
       b.quota_left, extract(epoch FROM b.quota_until)::float8
FROM syncd.budget b LEFT JOIN syncd.token t ON t.budget = b.name
WHERE b.name = ANY (%(budgets)s) GROUP BY b.name;

-- name: look_for_streams
-- Every stream that was ever opened, those that left the config among them.
SELECT source, stream FROM syncd.checkpoint ORDER BY source, stream;

-- name: look_at_dead
-- The newest first; of one stream and kind, or of all.
SELECT id, source, stream, kind, key, reason, attempts, extract(epoch FROM first_at)::float8,
       extract(epoch FROM last_at)::float8, extract(epoch FROM next_try)::float8, cycle, target,
       schema_version, idempotency_key
FROM syncd.dead_letter
WHERE (%(source)s::text IS NULL OR (source = %(source)s AND stream = %(stream)s))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY last_at DESC, id DESC LIMIT %(limit)s;

-- name: look_how_many_dead
SELECT count(*) FROM syncd.dead_letter
WHERE (%(source)s::text IS NULL OR (source = %(source)s AND stream = %(stream)s))
  AND (%(kind)s::text IS NULL OR kind = %(kind)s);

-- name: look_at_dead_letters
-- These very letters, and what they hold.
SELECT id, source, stream, kind, key, reason, attempts, extract(epoch FROM first_at)::float8,
       extract(epoch FROM last_at)::float8, extract(epoch FROM next_try)::float8, cycle, target,
       schema_version, idempotency_key, payload
FROM syncd.dead_letter WHERE id = ANY (%(ids)s) ORDER BY id;

-- name: look_which_are_dead
SELECT id FROM syncd.dead_letter WHERE source = %(source)s AND stream = %(stream)s;

-- name: look_at_first_page
-- How far back it is known which page changed what, and whether that is from the beginning on.
SELECT extract(epoch FROM p.committed_at)::float8,
       coalesce(p.number, 1) = 1 AND p.cycle = (
           SELECT min(id) FROM syncd.cycle c WHERE c.source = p.source AND c.stream = p.stream)
FROM syncd.page p WHERE p.source = %(source)s AND p.stream = %(stream)s
ORDER BY p.committed_at LIMIT 1;

-- name: look_at_pages_of
-- The last pages that changed this record, the newest first.
SELECT cycle, number, extract(epoch FROM committed_at)::float8, request, seen, written,
       unchanged, left_out, dead, folded, many
FROM syncd.page
WHERE source = %(source)s AND stream = %(stream)s AND changed && %(keys)s
ORDER BY committed_at DESC, id DESC LIMIT %(limit)s;

-- name: look_at_page_at
-- The page whose moment a row carries.
SELECT cycle, number, extract(epoch FROM committed_at)::float8, request, seen, written,
       unchanged, left_out, dead, folded, many
FROM syncd.page
WHERE source = %(source)s AND stream = %(stream)s
  AND committed_at = to_timestamp(%(at)s::float8) LIMIT 1;

-- name: look_at_pages_with
-- Those of these pages that are known.
SELECT cycle, number, extract(epoch FROM committed_at)::float8, request, seen, written,
       unchanged, left_out, dead, folded, many
FROM syncd.page
WHERE source = %(source)s AND stream = %(stream)s
  AND (cycle, number) IN (SELECT * FROM unnest(%(cycles)s::bigint[], %(numbers)s::int[]));

-- name: look_at_events_of
-- What befell this record, the newest first; and what befell more at once than are named.
SELECT extract(epoch FROM at)::float8, what, cycle, page, kind, reason, many, cardinality(keys) > 0
FROM syncd.event
WHERE source = %(source)s AND stream = %(stream)s
  AND (keys && %(keys)s OR cardinality(keys) = 0)
ORDER BY at DESC, id DESC LIMIT %(limit)s;

-- name: look_at_calls_of
SELECT idempotency_key, cycle, extract(epoch FROM intended_at)::float8,
       extract(epoch FROM settled_at)::float8, outcome, reason
FROM syncd.call
WHERE source = %(source)s AND stream = %(stream)s AND record_key = ANY (%(keys)s)
ORDER BY intended_at DESC LIMIT %(limit)s;

-- name: look_at_letters_of
SELECT id, source, stream, kind, key, reason, attempts, extract(epoch FROM first_at)::float8,
       extract(epoch FROM last_at)::float8, extract(epoch FROM next_try)::float8, cycle, target,
       schema_version, idempotency_key
FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND key = ANY (%(keys)s) ORDER BY id;

-- name: look_whether_missing
SELECT cycle, approved FROM syncd.missing
WHERE source = %(source)s AND stream = %(stream)s AND key::text = ANY (%(keys)s) LIMIT 1;

-- name: look_elsewhere
-- Other streams that know a record by this key.
SELECT source, stream FROM syncd.dead_letter WHERE key = ANY (%(keys)s)
UNION SELECT source, stream FROM syncd.event WHERE keys && %(keys)s
UNION SELECT source, stream FROM syncd.page WHERE changed && %(keys)s
ORDER BY source, stream LIMIT 20;

-- name: look_at_drifts
SELECT d.source, d.stream, d.what, d.name, d.found, d.rule, d.records,
       extract(epoch FROM d.first_at)::float8, extract(epoch FROM d.last_at)::float8,
       extract(epoch FROM d.accepted_at)::float8
FROM syncd.drift d
JOIN unnest(%(sources)s::text[], %(streams)s::text[]) AS s (source, stream)
  ON s.source = d.source AND s.stream = d.stream
ORDER BY d.source, d.stream, d.first_at DESC, d.what, d.name, d.found;

-- name: look_at_the_next_cycle
-- Where a stream stands and what its next cycle would be, by the rules of insert_cycle: does it
-- look for what is gone, and from which mark would it ask?  Nothing if it was never opened.
SELECT k.cycle IS NOT NULL, k.pages, k.fingerprint, k.paused_at IS NOT NULL,
       coalesce(k.parked, ''), coalesce(c.reconcile, false), c.since, k.due,
       CASE WHEN NOT k.due AND k.whole < clock_timestamp() AND k.whole >= coalesce(
           clock_timestamp() - make_interval(secs => %(full)s::float8), 'epoch')
       THEN k.high_water END
FROM (
    SELECT *, reconcile_due OR coalesce(%(reconcile)s::float8 < extract(epoch FROM
                  clock_timestamp() - coalesce(reconciled_at, 'epoch')), false) AS due,
           (SELECT started_at FROM syncd.cycle
            WHERE source = %(source)s AND stream = %(stream)s AND NOT aside
              AND follows IS NULL AND since IS NULL AND outcome = 'ok'
            ORDER BY id DESC LIMIT 1) AS whole
    FROM syncd.checkpoint WHERE source = %(source)s AND stream = %(stream)s) AS k
LEFT JOIN syncd.cycle c ON c.id = k.cycle;

-- name: look_at_what_lies_aside
-- Which of these letters there are.
SELECT identity, kind, reason FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND identity = ANY (%(identities)s);

-- name: look_what_a_try_sets_off
-- What of a table can act beyond a transaction that is rolled back: triggers and rules of its
-- owner, what an update cascades to, sequences and functions behind columns that are not ours.
-- And what can't be tried, as it looks at what only a call gives.
WITH this AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s
), parts AS (
    SELECT oid FROM this
    UNION SELECT p.relid FROM this CROSS JOIN LATERAL pg_partition_tree(this.oid) AS p
)
SELECT 'trigger ' || quote_ident(t.tgname) FROM pg_trigger t JOIN parts ON parts.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION SELECT 'rule ' || quote_ident(r.rulename)
FROM pg_rewrite r JOIN parts ON parts.oid = r.ev_class WHERE r.ev_enabled <> 'D'
UNION SELECT 'foreign key ' || quote_ident(f.conname) || ' of ' || f.conrelid::regclass::text
FROM pg_constraint f JOIN parts ON parts.oid = f.confrelid
WHERE f.contype = 'f' AND f.confupdtype NOT IN ('a', 'r')
UNION SELECT 'default of column ' || quote_ident(a.attname)
FROM pg_attribute a JOIN parts ON parts.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND NOT a.attname = ANY (%(columns)s)
  AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE '%%nextval%%' OR EXISTS (
      SELECT FROM pg_depend e WHERE e.classid = 'pg_attrdef'::regclass AND e.objid = d.oid
        AND e.refclassid = 'pg_proc'::regclass))
UNION SELECT 'constraint of column ' || quote_ident(a.attname) || ', which a call fills'
FROM pg_attribute a JOIN parts ON parts.oid = a.attrelid
WHERE a.attname = ANY (%(kept)s) AND (a.attnotnull OR EXISTS (
    SELECT FROM pg_constraint c WHERE c.conrelid = a.attrelid AND a.attnum = ANY (c.conkey)))
ORDER BY 1;

-- name: wait_briefly
-- A dry run gives way to whoever works on the table.
SET LOCAL lock_timeout = '2s';

-- name: discard_dead
DELETE FROM syncd.dead_letter WHERE id = ANY (%(ids)s)
RETURNING id, source, stream, kind, key;

-- name: ask
-- An operator's request; it is heard at once where LISTEN works, else at the next poll.
INSERT INTO syncd.request (kind, source, stream, subjects, asked_by)
VALUES (%(kind)s, %(source)s, %(stream)s, %(subjects)s, %(asked_by)s) RETURNING id;

-- name: notify
SELECT pg_notify('syncd_request', '');

-- name: listen
LISTEN syncd_request;

-- name: pause
-- Holds over restarts.  A stream that was never opened gets its row now.
INSERT INTO syncd.checkpoint (source, stream, fence, paused_at, paused_by)
VALUES (%(source)s, %(stream)s,
        coalesce((SELECT fence FROM syncd.lease WHERE source = %(source)s), 0),
        clock_timestamp(), %(asked_by)s)
ON CONFLICT (source, stream) DO UPDATE SET paused_at = clock_timestamp(), paused_by = %(asked_by)s
WHERE checkpoint.paused_at IS NULL;

-- name: resume
UPDATE syncd.checkpoint SET paused_at = NULL, paused_by = NULL, parked = NULL
WHERE source = %(source)s AND stream = %(stream)s;

-- name: take_requests
-- Those for sources whose lease is ours; each is taken once.
UPDATE syncd.request SET taken_at = clock_timestamp()
WHERE id IN (
    SELECT r.id FROM syncd.request r
    JOIN unnest(%(sources)s::text[], %(fences)s::bigint[]) AS ours (source, fence)
         ON ours.source = r.source
    JOIN syncd.lease l ON l.source = ours.source AND l.fence = ours.fence
    WHERE r.taken_at IS NULL AND r.ended_at IS NULL
    ORDER BY r.id FOR UPDATE OF r SKIP LOCKED)
RETURNING id, kind, source, stream, subjects;

-- name: answer_request
WITH ended AS (
    UPDATE syncd.request SET ended_at = clock_timestamp(), ok = %(ok)s, answer = %(answer)s
    WHERE id = %(id)s AND ended_at IS NULL RETURNING id, ok, answer)
UPDATE syncd.audit a SET ok = e.ok, answer = left(e.answer, 1000)
FROM ended e WHERE a.request = e.id AND a.ok IS NULL;

-- name: abandon_requests
-- The syncd that took them is no more.
WITH ended AS (
    UPDATE syncd.request SET ended_at = clock_timestamp(), ok = false, answer = %(answer)s
    WHERE source = ANY (%(sources)s) AND taken_at IS NOT NULL AND ended_at IS NULL
    RETURNING id, ok, answer)
UPDATE syncd.audit a SET ok = e.ok, answer = e.answer
FROM ended e WHERE a.request = e.id AND a.ok IS NULL;

-- name: purge_requests
DELETE FROM syncd.request WHERE asked_at < clock_timestamp() - interval '30 days';

-- name: withdraw_request
-- Only as long as nobody has taken it.
WITH gone AS (DELETE FROM syncd.request WHERE id = %(id)s AND taken_at IS NULL RETURNING id),
noted AS (UPDATE syncd.audit a SET ok = false, answer = 'withdrawn: nobody had taken it'
          FROM gone g WHERE a.request = g.id AND a.ok IS NULL)
SELECT id FROM gone;

-- name: look_at_request
SELECT taken_at IS NOT NULL, ended_at IS NOT NULL, ok, answer
FROM syncd.request WHERE id = %(id)s;

-- name: note_in_audit
-- What was asked; its answer comes with that of its request, if it is one.
INSERT INTO syncd.audit (who, origin, what, subject, request, ok, answer)
VALUES (%(who)s, %(origin)s, %(what)s, %(subject)s, %(request)s, %(ok)s, %(answer)s);

-- name: purge_audit
-- A few at each new one: it takes nobody long, and they leave faster than they come.
DELETE FROM syncd.audit WHERE id IN (
    SELECT id FROM syncd.audit WHERE at < clock_timestamp() - interval '400 days'
    ORDER BY at LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: look_at_audit
-- The newest first.
SELECT extract(epoch FROM at)::float8, who, origin, what, subject, ok, answer
FROM syncd.audit ORDER BY id DESC LIMIT %(limit)s;

-- name: forget_receivers
-- Of our sources, and of what is ours without a source: who is not told any more.
DELETE FROM syncd.alarm
WHERE (source = ANY (%(sources)s) OR (source = '' AND instance = %(instance)s))
  AND NOT receiver = ANY (%(receivers)s);

-- name: forget_notices
-- Theirs, and what nobody came for: a syncd on another host, or with another file, is no more.
DELETE FROM syncd.notice
WHERE made_at < clock_timestamp() - interval '2 days'
   OR ((source = ANY (%(sources)s) OR (source = '' AND instance = %(instance)s))
       AND NOT receiver = ANY (%(receivers)s));

-- name: alarms
SELECT receiver, kind, source, stream, about, reason,
       extract(epoch FROM clock_timestamp() - since)::float8,
       extract(epoch FROM clock_timestamp() - told_at)::float8,
       extract(epoch FROM clock_timestamp() - ended_at)::float8, times
FROM syncd.alarm
WHERE source = ANY (%(sources)s) OR (source = '' AND instance = %(instance)s);

-- name: notices
-- In the order in which they were made.
SELECT receiver, id, what, body, extract(epoch FROM clock_timestamp() - made_at)::float8
FROM syncd.notice
WHERE source = ANY (%(sources)s) OR (source = '' AND instance = %(instance)s)
ORDER BY number;

-- name: keep_alarms
INSERT INTO syncd.alarm
    (receiver, instance, kind, source, stream, about, reason, since, told_at, ended_at, times)
SELECT receiver, CASE source WHEN '' THEN %(instance)s ELSE '' END, kind, source, stream, about,
       reason,
       clock_timestamp() - make_interval(secs => since),
       clock_timestamp() - make_interval(secs => told),
       clock_timestamp() - make_interval(secs => ended), times
FROM jsonb_to_recordset(%(alarms)s::jsonb) AS a (receiver text, kind text, source text,
     stream text, about text, reason text, since float8, told float8, ended float8, times integer)
ORDER BY receiver, kind, source, stream, about
ON CONFLICT (receiver, instance, kind, source, stream, about) DO UPDATE
SET reason = excluded.reason, since = excluded.since, told_at = excluded.told_at,
    ended_at = excluded.ended_at, times = excluded.times;

-- name: forget_alarms
DELETE FROM syncd.alarm a
USING jsonb_to_recordset(%(alarms)s::jsonb)
    AS f (receiver text, kind text, source text, stream text, about text)
WHERE a.receiver = f.receiver AND a.kind = f.kind AND a.source = f.source AND a.stream = f.stream
  AND a.about = f.about AND a.instance = CASE f.source WHEN '' THEN %(instance)s ELSE '' END;

-- name: keep_notices
INSERT INTO syncd.notice (id, receiver, instance, source, made_at, what, body)
SELECT id, receiver, CASE source WHEN '' THEN %(instance)s ELSE '' END, source,
       clock_timestamp() - make_interval(secs => age), what, body
FROM ROWS FROM (jsonb_to_recordset(%(notices)s::jsonb)
     AS (id text, receiver text, source text, age float8, what text, body text))
     WITH ORDINALITY AS n (id, receiver, source, age, what, body, place)
ORDER BY place
ON CONFLICT (id) DO NOTHING;

-- name: settle_notices
DELETE FROM syncd.notice WHERE id = ANY (%(ids)s);

-- name: ages
-- Since when no cycle has ended well, of each stream that had one and is not paused.
SELECT k.source, k.stream, extract(epoch FROM clock_timestamp() - w.ended_at)::float8
FROM syncd.checkpoint k
CROSS JOIN LATERAL (
    SELECT c.ended_at FROM syncd.cycle c
    WHERE c.source = k.source AND c.stream = k.stream AND c.outcome = 'ok'
      AND NOT c.aside AND c.follows IS NULL
    ORDER BY id DESC LIMIT 1) AS w
WHERE k.source = ANY (%(sources)s) AND k.paused_at IS NULL;

-- name: look_into_vault
-- What the last login of a source has bought.
SELECT version, sealed, extract(epoch FROM ends_at - clock_timestamp())::float8
FROM syncd.vault WHERE source = %(source)s;

-- name: claim_login
-- The right to log in, for one of all processes: whoever has seen the newest version and finds
-- no claim of another's. The row's lock lets them come one after the other.
INSERT INTO syncd.vault AS v (source, claimed_until)
VALUES (%(source)s, clock_timestamp() + make_interval(secs => %(seconds)s::float8))
ON CONFLICT (source) DO UPDATE SET claimed_until = EXCLUDED.claimed_until
WHERE v.version = %(version)s AND v.claimed_until <= clock_timestamp()
RETURNING version;

-- name: keep_bought
-- What a login has bought, and the claim's end; nothing if somebody was faster.
UPDATE syncd.vault
SET version = version + 1, sealed = %(sealed)s, claimed_until = 'epoch',
    ends_at = clock_timestamp() + make_interval(secs => %(life)s::float8)
WHERE source = %(source)s AND version = %(version)s
RETURNING version;

-- name: give_claim_back
UPDATE syncd.vault SET claimed_until = 'epoch' WHERE source = %(source)s AND version = %(version)s;

-- name: make_salt
INSERT INTO syncd.salt (inner_pad, outer_pad) VALUES (%(inner)s, %(outer)s) ON CONFLICT DO NOTHING;

-- name: salt
SELECT inner_pad, outer_pad FROM syncd.salt;

-- name: kept_out
-- What is to stay forgotten of a stream.
SELECT hash, key_is FROM syncd.kept_out
WHERE source = %(source)s AND stream = %(stream)s AND lasting;

-- name: kept_out_version
SELECT kept_out_version FROM syncd.checkpoint
WHERE source = %(source)s AND stream = %(stream)s;

-- name: which_are_kept_out
-- Those of these keys that are to stay forgotten, or were forgotten since a page was fetched.
-- The hash is HMAC-SHA256, as `sync.keepout` makes it.
WITH hashed AS MATERIALIZED (
    SELECT e.key, sha256(s.outer_pad || sha256(s.inner_pad || convert_to(
               concat_ws(E'\x1f', %(source)s::text, %(stream)s::text, e.key), 'UTF8'))) AS hash
    FROM unnest(%(keys)s::text[]) AS e (key), syncd.salt s
)
SELECT h.key FROM hashed h JOIN syncd.kept_out k
    ON k.source = %(source)s AND k.stream = %(stream)s AND k.hash = h.hash
WHERE k.lasting OR k.version > %(version)s;

-- name: forget_calls_of
-- Their answers came after they were forgotten.
DELETE FROM syncd.call
WHERE source = %(source)s AND stream = %(stream)s AND record_key = ANY (%(keys)s);

-- name: begin_to_tidy_up
-- Once after each change, and each takeover: what comes after that was sifted by it.
UPDATE syncd.checkpoint SET tidied_version = kept_out_version
WHERE source = %(source)s AND stream = %(stream)s AND tidied_version <> kept_out_version;

-- name: forget_late_calls
-- Of pages that never were committed: what of the ledger is of records that were forgotten.
WITH hashed AS MATERIALIZED (
    SELECT c.idempotency_key, sha256(s.outer_pad || sha256(s.inner_pad || convert_to(
               concat_ws(E'\x1f', c.source, c.stream, c.record_key), 'UTF8'))) AS hash
    FROM syncd.call c, syncd.salt s WHERE c.source = %(source)s AND c.stream = %(stream)s
)
DELETE FROM syncd.call WHERE idempotency_key IN (
    SELECT h.idempotency_key FROM hashed h JOIN syncd.kept_out k
        ON k.source = %(source)s AND k.stream = %(stream)s AND k.hash = h.hash);

-- name: forget_late_spendings
-- The tokens of their calls.
WITH hashed AS MATERIALIZED (
    SELECT t.budget, t.number, t.spent_on, %(name)s || ' ' || w.what AS plain,
           sha256(s.outer_pad || sha256(s.inner_pad || convert_to(
               concat_ws(E'\x1f', %(source)s::text, %(stream)s::text,
                         substr(t.spent_on, length(%(name)s || w.what) + 3)), 'UTF8'))) AS hash
    FROM syncd.token t, syncd.salt s, unnest(ARRAY['call', 'verify']) AS w (what)
    WHERE starts_with(t.spent_on, %(name)s || ' ' || w.what || ' ')
)
UPDATE syncd.token t SET spent_on = h.plain
FROM hashed h JOIN syncd.kept_out k
    ON k.source = %(source)s AND k.stream = %(stream)s AND k.hash = h.hash
WHERE t.budget = h.budget AND t.number = h.number AND t.spent_on = h.spent_on;

-- name: let_pass
-- Every page that was fetched before has been committed, or never will be.
DELETE FROM syncd.kept_out
WHERE source = %(source)s AND stream = %(stream)s AND NOT lasting;

-- name: right_to_erase
SELECT current_user::text, has_table_privilege(c.oid, 'DELETE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s;

-- name: ensure_lockable
-- A stream that was never opened gets its row now, so that whoever opens it sees what is kept out.
INSERT INTO syncd.checkpoint (source, stream, fence)
VALUES (%(source)s, %(stream)s,
        coalesce((SELECT fence FROM syncd.lease WHERE source = %(source)s), 0))
ON CONFLICT DO NOTHING;

-- name: kept_out_changed
UPDATE syncd.checkpoint SET kept_out_version = kept_out_version + 1
WHERE source = %(source)s AND stream = %(stream)s RETURNING kept_out_version;

-- name: was_kept_out
SELECT 1 FROM syncd.kept_out
WHERE source = %(source)s AND stream = %(stream)s AND hash = %(hash)s AND lasting;

-- name: keep_out
-- Who is kept out stays so, also if the record is forgotten once more.
INSERT INTO syncd.kept_out AS k (source, stream, hash, key_is, lasting, version)
VALUES (%(source)s, %(stream)s, %(hash)s, %(key_is)s, %(lasting)s, %(version)s)
ON CONFLICT (source, stream, hash) DO UPDATE
SET lasting = k.lasting OR EXCLUDED.lasting, version = EXCLUDED.version, key_is = EXCLUDED.key_is;

-- name: let_in
-- These, or all of the stream's.
DELETE FROM syncd.kept_out
WHERE source = %(source)s AND stream = %(stream)s AND lasting
  AND (%(hashes)s::bytea[] IS NULL OR hash = ANY (%(hashes)s::bytea[]));

-- name: forget_letters
DELETE FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s
  AND (key = ANY (%(keys)s) OR identity = ANY (%(identities)s))
RETURNING kind, reason, payload, idempotency_key;

-- name: count_keyless
SELECT count(*) FROM syncd.dead_letter
WHERE source = %(source)s AND stream = %(stream)s AND key IS NULL;

-- name: forget_ledger
-- Of the record, and the calls that its dead letters refer to.
DELETE FROM syncd.call
WHERE source = %(source)s AND stream = %(stream)s
  AND (record_key = ANY (%(keys)s) OR idempotency_key = ANY (%(first)s))
RETURNING idempotency_key, outcome, kept, reason;

-- name: forget_spendings
-- What a token went for is still told, but not for whom.
UPDATE syncd.token
SET spent_on = %(plain)s || ' ' || split_part(substr(spent_on, length(%(plain)s) + 2), ' ', 1)
WHERE spent_on = ANY (%(spent_on)s);

-- name: forget_pages
-- Pages that changed it.
UPDATE syncd.page
SET changed = ARRAY(SELECT k FROM unnest(changed) WITH ORDINALITY AS c (k, place)
                    WHERE k <> ALL (%(keys)s) ORDER BY place)
WHERE source = %(source)s AND stream = %(stream)s AND changed && %(keys)s;

-- name: forget_events
-- What befell it alone; no keys at all stand for too many.
DELETE FROM syncd.event
WHERE source = %(source)s AND stream = %(stream)s AND cardinality(keys) > 0 AND keys <@ %(keys)s
RETURNING reason;

-- name: forget_in_events
-- What befell others as well.
UPDATE syncd.event
SET keys = ARRAY(SELECT k FROM unnest(keys) WITH ORDINALITY AS c (k, place)
                 WHERE k <> ALL (%(keys)s) ORDER BY place)
WHERE source = %(source)s AND stream = %(stream)s AND keys && %(keys)s;

-- name: forget_missing_record
DELETE FROM syncd.missing
WHERE source = %(source)s AND stream = %(stream)s
  AND (key::text = ANY (%(keys)s) OR key = ANY (%(typed)s::jsonb[]));

-- name: forget_seen_record
DELETE FROM syncd.seen
WHERE source = %(source)s AND stream = %(stream)s
  AND (key::text = ANY (%(keys)s) OR key = ANY (%(typed)s::jsonb[]));

-- name: note_less
-- Of the scan whose conclusion is still to be drawn, so that it does not count as lost.
UPDATE syncd.cycle SET noted = noted - %(many)s
WHERE id = (SELECT max(id) FROM syncd.cycle
            WHERE source = %(source)s AND stream = %(stream)s AND reconcile)
  AND missing IS NULL AND noted >= %(many)s;

-- name: subjects_of_requests
-- Keys as operators have written them.
SELECT DISTINCT s FROM syncd.request, unnest(subjects) AS s
WHERE source = %(source)s AND stream = %(stream)s AND kind = 'sync';

-- name: end_requests
-- Its answer would name the record.
WITH ended AS (
    UPDATE syncd.request SET ended_at = clock_timestamp(), ok = false, answer = %(answer)s
    WHERE source = %(source)s AND stream = %(stream)s AND kind = 'sync'
      AND subjects && %(asked)s::text[] AND ended_at IS NULL
    RETURNING id, answer)
UPDATE syncd.audit a SET ok = false, answer = e.answer
FROM ended e WHERE a.request = e.id AND a.ok IS NULL;

-- name: forget_subjects
UPDATE syncd.request
SET subjects = ARRAY(SELECT CASE WHEN s = ANY (%(asked)s::text[]) THEN %(struck)s ELSE s END
                     FROM unnest(subjects) WITH ORDINALITY AS u (s, place) ORDER BY place)
WHERE source = %(source)s AND stream = %(stream)s AND kind = 'sync'
  AND subjects && %(asked)s::text[];

-- name: forget_marks
-- A page's fingerprint, and a high-water mark that is the record's key: without one the next
-- cycle asks for the whole list.
UPDATE syncd.checkpoint
SET last_page = NULL,
    high_water = CASE WHEN high_water = ANY (%(marks)s) THEN NULL ELSE high_water END
WHERE source = %(source)s AND stream = %(stream)s;

-- name: columns_to_search
-- Of every table of ours: what may hold words of others, and what tells whose a row is.
SELECT c.relname::text,
       array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typname = 'text'),
       array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typname = '_text'),
       array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typname IN ('jsonb', 'json')),
       array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typname = 'bytea')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = 'syncd' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND has_table_privilege(c.oid, 'SELECT')
GROUP BY c.relname ORDER BY c.relname;
