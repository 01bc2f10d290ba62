create schema if not exists log;
comment on schema log is 'Hotline''s call log: tables that only the projection of the journal writes. Read the views in public.';

create table log.schema_version (
    version integer primary key,
    at      timestamptz not null default now()
);
comment on table log.schema_version is 'Migrations that ran.';
comment on column log.schema_version.version is 'Number of the migration.';
comment on column log.schema_version.at is 'When it ran.';

create table log.cursor (
    reader      text primary key,
    incarnation text not null,
    seq         bigint not null,
    entry       integer not null,
    event_id    text not null,
    last_at     timestamptz,
    skip_to     timestamptz,
    moved_at    timestamptz not null default now()
);
comment on table log.cursor is 'How far the journal is projected; moved in the transaction that stores the facts, so each fact counts once.';
comment on column log.cursor.reader is 'Which projection.';
comment on column log.cursor.incarnation is 'Of the journal that was read; another one means that the journal was deleted.';
comment on column log.cursor.seq is 'Sequence of the batch that was read last; 0: none.';
comment on column log.cursor.entry is 'Index of the entry in that batch, from 0.';
comment on column log.cursor.event_id is 'Id of that entry, to notice a journal that was cut short and has grown again.';
comment on column log.cursor.last_at is 'Stamp of that entry.';
comment on column log.cursor.skip_to is 'After the journal was cut short: entries up to this stamp are projected already. Null otherwise.';
comment on column log.cursor.moved_at is 'When it was projected (Postgres'' clock).';

create table log.calls (
    call_id        text primary key,
    number         text not null,
    caller         text,
    caller_name    text,
    trunk          text,
    dialled_by     text,
    direction      text not null,
    language       text,
    queue          text,
    agent          text,
    outcome        text,
    stage          text,
    hung_up_by     text,
    detail         text,
    arrived_at     timestamptz not null,
    answered_at    timestamptz,
    queued_at      timestamptz,
    connected_at   timestamptz,
    ended_at       timestamptz,
    wait_us        bigint,
    ring_us        bigint,
    talk_us        bigint,
    hold_us        bigint,
    recording      text,
    recording_us   bigint,
    recording_lost_us bigint,
    recording_error text,
    visits         integer not null default 0,
    segment        text,
    segment_agent  text,
    segment_since  timestamptz,
    presumed       boolean not null default false
);
create index calls_arrived on log.calls (arrived_at);
create index calls_caller on log.calls (caller, arrived_at);
create index calls_open on log.calls (call_id) where ended_at is null;
comment on table log.calls is 'One row a call, from arrival on. Times are journal stamps, UTC; durations in microseconds.';
comment on column log.calls.call_id is 'The call''s id, unique over restarts.';
comment on column log.calls.number is 'What was dialled.';
comment on column log.calls.caller is 'The caller''s number or user; null if withheld.';
comment on column log.calls.caller_name is 'Display name, as it came.';
comment on column log.calls.trunk is 'The trunk by which the call came in.';
comment on column log.calls.dialled_by is 'The agent who dialled, if it was one.';
comment on column log.calls.direction is 'inbound, internal or outbound.';
comment on column log.calls.language is 'Chosen in the flow: vi, en or zh.';
comment on column log.calls.queue is 'The queue that first connected, else the one last tried.';
comment on column log.calls.agent is 'The agent who first connected, else the one last tried.';
comment on column log.calls.outcome is 'How the call ended, exactly one; null until then.';
comment on column log.calls.stage is 'Where the call was when it ended.';
comment on column log.calls.hung_up_by is 'Who ended it: caller, agent or system.';
comment on column log.calls.detail is 'How it ended, in the words of the signalling.';
comment on column log.calls.arrived_at is 'The INVITE.';
comment on column log.calls.answered_at is 'We picked up.';
comment on column log.calls.queued_at is 'Entry to the first queue.';
comment on column log.calls.connected_at is 'Caller and first agent heard each other.';
comment on column log.calls.ended_at is 'The end; after a crash the last moment at which the call was seen.';
comment on column log.calls.wait_us is 'Time in queues up to the first connection, ringing included, or up to leaving them; null if never queued or while waiting.';
comment on column log.calls.ring_us is 'Sum over the call''s offers up to the first connection of the time for which each rang; phones that rang together count each.';
comment on column log.calls.talk_us is 'Time connected to agents, hold excluded; null until a stretch of talk is over.';
comment on column log.calls.hold_us is 'Time on hold; null as talk_us.';
comment on column log.calls.recording is 'The recording, absolute file name.';
comment on column log.calls.recording_us is 'Its length, once closed.';
comment on column log.calls.recording_lost_us is 'What of it was lost on the way to the disk.';
comment on column log.calls.recording_error is 'Why it could not be closed properly.';
comment on column log.calls.visits is 'How many visits to queues the call has had.';
comment on column log.calls.segment is 'Where an open call is now: Flow, Waiting, Ringing, Talking or Hold.';
comment on column log.calls.segment_agent is 'The agent of that segment.';
comment on column log.calls.segment_since is 'Start of that segment.';
comment on column log.calls.presumed is 'The journal did not say how the call ended: it was open when the service ended.';

create table log.segments (
    call_id text not null,
    segment text not null,
    agent   text,
    from_at timestamptz not null,
    to_at   timestamptz not null,
    primary key (call_id, from_at)
);
comment on table log.segments is 'The stretches of each call, without gap or overlap from its arrival to its end.';
comment on column log.segments.call_id is 'The call.';
comment on column log.segments.segment is 'Flow, Waiting, Ringing, Talking or Hold.';
comment on column log.segments.agent is 'The agent of a Talking or Hold segment.';
comment on column log.segments.from_at is 'Start.';
comment on column log.segments.to_at is 'End, later than the start.';

create table log.visits (
    call_id      text not null,
    visit        integer not null,
    queue        text not null,
    priority     integer not null,
    entered_at   timestamptz not null,
    connected_at timestamptz,
    ended_at     timestamptz,
    result       text,
    agent        text,
    primary key (call_id, visit)
);
create index visits_entered on log.visits (queue, entered_at);
create index visits_open on log.visits (call_id) where ended_at is null;
comment on table log.visits is 'One row for each stay of a call in a queue, also for one refused at the door.';
comment on column log.visits.call_id is 'The call.';
comment on column log.visits.visit is 'Counts the call''s visits from 1.';
comment on column log.visits.queue is 'The queue.';
comment on column log.visits.priority is 'As given at entry, 0 to 10.';
comment on column log.visits.entered_at is 'Entry to the queue.';
comment on column log.visits.connected_at is 'Caller and agent heard each other.';
comment on column log.visits.ended_at is 'End of the visit.';
comment on column log.visits.result is 'answered, abandoned, timed_out, full, no_agents, closed, callback, voicemail, key, moved or failed; null while open.';
comment on column log.visits.agent is 'Who answered.';

create table log.offers (
    call_id     text not null,
    offer       bigint not null,
    agent       text not null,
    queue       text not null,
    started_at  timestamptz not null,
    rang_at     timestamptz,
    accepted_at timestamptz,
    ended_at    timestamptz,
    result      text,
    primary key (call_id, offer)
);
create index offers_by_number on log.offers (offer, started_at desc);
create index offers_agent on log.offers (agent, started_at);
create index offers_open on log.offers (call_id) where ended_at is null;
comment on table log.offers is 'One row for each attempt to hand a call to an agent.';
comment on column log.offers.call_id is 'The call.';
comment on column log.offers.offer is 'Counts offers within a run of the service.';
comment on column log.offers.agent is 'The agent''s id.';
comment on column log.offers.queue is 'The queue that the call was in.';
comment on column log.offers.started_at is 'The decision to offer.';
comment on column log.offers.rang_at is 'First ringing told by a phone of the agent.';
comment on column log.offers.accepted_at is 'A phone of the agent answered.';
comment on column log.offers.ended_at is 'End of the offer; for an answered one the connection.';
comment on column log.offers.result is 'answered, no_answer, busy, rejected, unreachable, caller_gone, lost_race, withdrawn, dropped_before_bridge or failed; null while open.';

create table log.agents (
    agent        text primary key,
    name         text,
    extension    text,
    presence     text,
    reason       text,
    work         text,
    reachable    boolean not null default false,
    private      boolean not null default false,
    down         boolean not null default false,
    call_id      text,
    hold_call_id text,
    state        text,
    state_reason text,
    since        timestamptz
);
comment on table log.agents is 'Each agent as last told, with the interval of the time ledger that is open.';
comment on column log.agents.agent is 'The agent''s id.';
comment on column log.agents.name is 'As last configured.';
comment on column log.agents.extension is 'As last configured.';
comment on column log.agents.presence is 'What the agent chose: SignedOut, Ready or NotReady.';
comment on column log.agents.reason is 'Of NotReady.';
comment on column log.agents.work is 'What the ACD set: Idle, Offered, Talking or WrapUp.';
comment on column log.agents.reachable is 'The phone is registered.';
comment on column log.agents.private is 'The phone is in a call of the agent''s own.';
comment on column log.agents.down is 'The service ended, and since then the agent was not heard of.';
comment on column log.agents.call_id is 'The call while Offered, Talking or WrapUp.';
comment on column log.agents.hold_call_id is 'The call that the agent put on hold.';
comment on column log.agents.state is 'State of the open interval; null before the first.';
comment on column log.agents.state_reason is 'Its reason.';
comment on column log.agents.since is 'Its start.';

create table log.agent_intervals (
    agent   text not null,
    state   text not null,
    reason  text,
    from_at timestamptz not null,
    to_at   timestamptz not null,
    primary key (agent, from_at)
);
create index agent_intervals_from on log.agent_intervals (from_at);
comment on table log.agent_intervals is 'Closed intervals of the agents'' time ledger; the open one is in log.agents.';
comment on column log.agent_intervals.agent is 'The agent''s id.';
comment on column log.agent_intervals.state is 'Hold, Talking, WrapUp, Offered, Private, SignedOut, NotReady, Unreachable or Idle.';
comment on column log.agent_intervals.reason is 'Of NotReady; ''service down'' where Hotline itself was not there.';
comment on column log.agent_intervals.from_at is 'Start.';
comment on column log.agent_intervals.to_at is 'End, later than the start, which is where the next interval starts.';

create table log.legs (
    call_id       text not null,
    leg           text not null,
    party         text not null,
    agent         text,
    detail        text,
    codec         text,
    sent          bigint not null,
    received      bigint not null,
    lost          bigint not null,
    remote_lost   bigint not null,
    jitter_us     bigint not null,
    round_trip_us bigint not null,
    ended_at      timestamptz not null,
    primary key (call_id, leg, party)
);
comment on table log.legs is 'One row for each party''s audio and signalling at its end.';
comment on column log.legs.call_id is 'The call.';
comment on column log.legs.leg is 'SIP Call-ID of the dialog.';
comment on column log.legs.party is 'caller or agent.';
comment on column log.legs.agent is 'The agent''s id.';
comment on column log.legs.detail is 'How it ended.';
comment on column log.legs.codec is 'Audio codec.';
comment on column log.legs.sent is 'RTP packets sent.';
comment on column log.legs.received is 'RTP packets received.';
comment on column log.legs.lost is 'RTP packets expected and not received.';
comment on column log.legs.remote_lost is 'RTP packets that the peer reports as lost.';
comment on column log.legs.jitter_us is 'Interarrival jitter of what was received (RFC 3550), microseconds.';
comment on column log.legs.round_trip_us is 'Last measured round trip, microseconds; 0 unknown.';
comment on column log.legs.ended_at is 'End of the leg.';

create table log.alarms (
    alarm bigint generated always as identity primary key,
    at    timestamptz not null,
    text  text not null
);
comment on table log.alarms is 'What an operator must know: alarms of the service, gaps in the journal, facts in quarantine.';
comment on column log.alarms.alarm is 'Counts alarms.';
comment on column log.alarms.at is 'When.';
comment on column log.alarms.text is 'What.';

create table log.quarantine (
    event_id    text primary key,
    incarnation text not null,
    seq         bigint not null,
    entry       integer not null,
    at          timestamptz not null,
    kind        text not null,
    raw         text not null,
    error       text not null,
    put_at      timestamptz not null default now()
);
comment on table log.quarantine is 'Facts that could not be projected. The rest went on without them.';
comment on column log.quarantine.event_id is 'The entry''s id in the journal.';
comment on column log.quarantine.incarnation is 'The journal.';
comment on column log.quarantine.seq is 'Sequence of its batch.';
comment on column log.quarantine.entry is 'Index in the batch.';
comment on column log.quarantine.at is 'Its stamp.';
comment on column log.quarantine.kind is 'Its kind; empty if it could not be decoded.';
comment on column log.quarantine.raw is 'The entry as JSON, or what was found in its place.';
comment on column log.quarantine.error is 'Why it could not be projected.';
comment on column log.quarantine.put_at is 'When it was put here (Postgres'' clock).';

create view public.call_log as
select call_id, number, caller, language, queue, agent, outcome, coalesce(stage, segment) as stage,
       arrived_at, answered_at, queued_at, connected_at, ended_at,
       (wait_us + 500) / 1000 as wait_ms,
       (ring_us + 500) / 1000 as ring_ms,
       (talk_us + 500) / 1000 as talk_ms,
       (hold_us + 500) / 1000 as hold_ms,
       hung_up_by, recording
from log.calls;
comment on view public.call_log is 'One row a call, from arrival on. Times UTC; durations in milliseconds.';
comment on column public.call_log.call_id is 'The call''s id, unique over restarts.';
comment on column public.call_log.number is 'What was dialled.';
comment on column public.call_log.caller is 'The caller''s number or user; null if withheld.';
comment on column public.call_log.language is 'Chosen in the flow: vi, en or zh.';
comment on column public.call_log.queue is 'The queue that first connected, else the one last tried.';
comment on column public.call_log.agent is 'Id of the agent who first connected, else of the one last tried.';
comment on column public.call_log.outcome is 'How the call ended, exactly one; null until then.';
comment on column public.call_log.stage is 'Where the call was when it ended; of an open call, where it is.';
comment on column public.call_log.arrived_at is 'The INVITE.';
comment on column public.call_log.answered_at is 'We picked up.';
comment on column public.call_log.queued_at is 'Entry to the first queue.';
comment on column public.call_log.connected_at is 'Caller and first agent heard each other.';
comment on column public.call_log.ended_at is 'The end; after a crash the last moment at which the call was seen.';
comment on column public.call_log.wait_ms is 'Time in queues up to the first connection, ringing included, or up to leaving them; null if never queued or while waiting.';
comment on column public.call_log.ring_ms is 'Sum over the call''s offers up to the first connection of the time for which each rang; phones that rang together count each.';
comment on column public.call_log.talk_ms is 'Time connected to agents, hold excluded; null until a stretch of talk is over.';
comment on column public.call_log.hold_ms is 'Time on hold; null as talk_ms.';
comment on column public.call_log.hung_up_by is 'Who ended it: caller, agent or system.';
comment on column public.call_log.recording is 'The recording, absolute file name.';

create view public.missed_calls as
select c.call_id, c.number, c.caller, c.language, c.queue, c.outcome, c.stage,
       c.arrived_at, c.queued_at, c.ended_at,
       (c.wait_us + 500) / 1000 as wait_ms,
       case when c.caller is null then 1 else (
           select count(*) from log.calls t
           where t.caller = c.caller and t.direction = 'inbound'
             and t.arrived_at > c.arrived_at - interval '24 hours' and t.arrived_at <= c.arrived_at) end as tries,
       (select min(t.connected_at) from log.calls t
        where t.caller = c.caller and t.direction = 'inbound' and t.arrived_at > c.arrived_at) as got_through_at
from log.calls c
where c.direction = 'inbound'
  and (c.outcome in ('abandoned', 'callback', 'voicemail', 'timed_out', 'no_agents', 'full', 'closed', 'rejected', 'failed')
       or c.outcome = 'left_in_flow' and c.queued_at is not null);
comment on view public.missed_calls is 'Inbound calls that somebody should call back: every ended call but answered, self_served and blocked ones, and those that left in the flow before any queue.';
comment on column public.missed_calls.call_id is 'The call''s id.';
comment on column public.missed_calls.number is 'What was dialled.';
comment on column public.missed_calls.caller is 'The caller''s number or user; null if withheld.';
comment on column public.missed_calls.language is 'Chosen in the flow: vi, en or zh.';
comment on column public.missed_calls.queue is 'The queue last tried.';
comment on column public.missed_calls.outcome is 'How the call ended.';
comment on column public.missed_calls.stage is 'Where it was when it ended.';
comment on column public.missed_calls.arrived_at is 'When the caller called.';
comment on column public.missed_calls.queued_at is 'Entry to the first queue; null if the call reached none.';
comment on column public.missed_calls.ended_at is 'The end of the call.';
comment on column public.missed_calls.wait_ms is 'Time waited in queues, in milliseconds.';
comment on column public.missed_calls.tries is 'Calls from this caller, to any number of ours, in the 24 hours up to and including this one; 1 if the number was withheld.';
comment on column public.missed_calls.got_through_at is 'When the same caller was first connected in a later call.';

create view public.offers as
select call_id, agent, started_at, ended_at, result,
       (extract(epoch from greatest(coalesce(accepted_at, ended_at) - coalesce(rang_at, started_at), interval '0')) * 1000)::bigint as ring_ms
from log.offers;
comment on view public.offers is 'One row for each attempt to hand a call to an agent.';
comment on column public.offers.call_id is 'The call.';
comment on column public.offers.agent is 'The agent''s id.';
comment on column public.offers.started_at is 'The decision to offer.';
comment on column public.offers.ended_at is 'End of the offer; for an answered one the connection.';
comment on column public.offers.result is 'answered, no_answer, busy, rejected, unreachable, caller_gone, lost_race, withdrawn, dropped_before_bridge or failed; null while open.';
comment on column public.offers.ring_ms is 'Milliseconds from the first ringing (from the start, if no phone told of ringing) to the answer or the end; null while it rings.';

create view public.agent_time as
select agent, state, reason, from_at, to_at from log.agent_intervals
union all
select agent, state, state_reason, since, null from log.agents where since is not null;
comment on view public.agent_time is 'The agents'' time ledger: for each agent without gap or overlap from the first moment known.';
comment on column public.agent_time.agent is 'The agent''s id.';
comment on column public.agent_time.state is 'The strongest that holds of Hold, Talking, WrapUp, Offered, Private, SignedOut, NotReady, Unreachable, Idle.';
comment on column public.agent_time.reason is 'Of NotReady; ''service down'' where Hotline itself was not there.';
comment on column public.agent_time.from_at is 'Start.';
comment on column public.agent_time.to_at is 'End; null while it lasts.';
