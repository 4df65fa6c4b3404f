-- What the receivers of notifications have been told, and what is still to be delivered to them.

CREATE TABLE syncd.alarm (
    receiver    text NOT NULL,
    instance    text NOT NULL,
    kind        text NOT NULL,
    source      text NOT NULL,
    stream      text NOT NULL,
    reason      text NOT NULL,
    since       timestamptz NOT NULL,
    told_at     timestamptz NOT NULL,
    ended_at    timestamptz,
    times       integer NOT NULL,
    PRIMARY KEY (receiver, instance, kind, source, stream)
);
COMMENT ON TABLE syncd.alarm IS 'What each receiver of notifications knows, so that a restart tells it nothing again.';
COMMENT ON COLUMN syncd.alarm.receiver IS 'Its name, or what its address comes to: never the address itself.';
COMMENT ON COLUMN syncd.alarm.instance IS 'Whose alarm it is where it concerns no source; else empty.';
COMMENT ON COLUMN syncd.alarm.ended_at IS 'When the receiver was told that it is over; null while it lasts.';
COMMENT ON COLUMN syncd.alarm.times IS 'How often it came back before it had been calm.';

CREATE TABLE syncd.notice (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    receiver    text NOT NULL,
    instance    text NOT NULL,
    source      text NOT NULL,
    made_at     timestamptz NOT NULL,
    what        text NOT NULL,
    body        text NOT NULL
);
COMMENT ON TABLE syncd.notice IS 'Notifications that are not known to be delivered; they go when they are.';
