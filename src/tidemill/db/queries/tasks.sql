-- Statements that move tasks. Sets go in as one JSON parameter and come out as rows.

-- claim: hand out up to :n waiting tasks, of the highest runs first and the last steps first, within each app's limit and
-- the worker's own room for engines that do only so many at once (:rooms).
with hand as materialized (
    select s.app_id, count(*) as tasks
    from task t join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
    join app a on a.id = s.app_id and (a.concurrency is not null or a.circuit_failures >= %(threshold)s)
    where t.state in ('running', 'submitted')
    group by s.app_id
),
lane as materialized (
    select r.id as run_id, s.position as step, s.app_id, a.version_id, a.revision, s.parameters, r.steps,
           r.reuse and v.version <> '' as reuse,
           r.pipeline_version_id, a.kind, coalesce((%(rooms)s::jsonb ->> a.kind)::int, %(n)s) as kind_room,
           row_number() over (order by r.priority desc, r.id, s.position desc) as rank,
           case
               when a.circuit_failures >= %(threshold)s then 1 - coalesce(hand.tasks, 0)
               when a.concurrency is not null then a.concurrency - coalesce(hand.tasks, 0)
               else %(n)s
           end as room
    from run r
    join step s on s.pipeline_version_id = r.pipeline_version_id
    join app a on a.id = s.app_id
    join app_version v on v.id = a.version_id
    left join hand on hand.app_id = a.id
    where r.state = 'active' and not r.paused and not a.paused
      and (a.circuit_open_until is null or a.circuit_open_until <= now())
      and not exists (
          select from jsonb_to_recordset(a.quiet || r.quiet) as q(days int[], "from" time, "to" time, zone text)
          cross join lateral (select now() at time zone coalesce(q.zone, 'UTC') as here) clock
          where case when q."from" < q."to"
                     then here::time >= q."from" and here::time < q."to"
                          and extract(isodow from here) = any(coalesce(q.days, '{1,2,3,4,5,6,7}'))
                     else here::time >= q."from" and extract(isodow from here) = any(coalesce(q.days, '{1,2,3,4,5,6,7}'))
                          or here::time < q."to" and
                             extract(isodow from here - interval '1 day') = any(coalesce(q.days, '{1,2,3,4,5,6,7}'))
                end)
      and (a.kind = any(%(kinds)s) and (a.kind <> 'python' or a.url = any(%(functions)s)))
      and (%(apps)s::text[] is null or a.name = any(%(apps)s))
),
found as materialized (
    select t.id, t.document, t.fresh, lane.app_id, lane.room, lane.version_id, lane.parameters, lane.reuse, lane.revision,
           lane.pipeline_version_id, lane.kind, lane.kind_room
    from (select * from lane where room > 0 and kind_room > 0 order by rank) lane
    cross join lateral (
        select t.id, t.document, t.fresh from task t
        where t.run_id = lane.run_id and t.step = lane.step and t.state = 'waiting' and not t.held and t.due_at <= now()
        order by t.due_at, t.id
        limit least(lane.room, lane.kind_room, %(n)s)
        for no key update skip locked
    ) t
    limit %(n)s
),
allowed as (
    select * from (
        select *, row_number() over (partition by app_id) as nth, row_number() over (partition by kind) as kind_nth from found
    ) f
    where nth <= room and kind_nth <= kind_room
),
claimed as (
    update task t
    set state = 'running', fence = t.fence + 1, started_at = now(), worker_id = %(worker)s,
        lease_until = now() + make_interval(secs => %(lease)s), reason = null
    from allowed where t.id = allowed.id
    returning t.id, t.fence, t.run_id, t.item_id, t.position, t.step, t.tries, t.document as input, t.started_at,
              allowed.app_id, allowed.kind, allowed.version_id, allowed.revision, allowed.parameters, allowed.pipeline_version_id,
              allowed.reuse and not t.fresh as reuse, t.revision as told
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'running' from claimed
)
select c.id, c.fence, c.item_id, i.name as item, c.step, c.tries, encode(c.input, 'hex') as input,
       c.started_at::text as started_at, c.app_id, c.kind, c.version_id, c.revision as app_revision,
       c.pipeline_version_id, c.told as revision, c.told <> i.revision as stale, d.body, d.location,
       encode(earlier.output, 'hex') as earlier_output, earlier.task_id as earlier_task, earlier.fence as earlier_fence
from claimed c
join item i on i.id = c.item_id
join document d on d.sha256 = c.input
left join lateral (
    -- "+ 0": by the input alone, never by all that the app has done, however few that were when the plan was made
    select a.output, a.task_id, a.fence from attempt a
    where c.reuse and (c.told is null or c.told = i.revision) and a.input = c.input and a.app_version_id + 0 = c.version_id and a.outcome = 'done'
      and a.origin_task_id is null and a.inputs is null and a.parameters = c.parameters and a.superseded_at is null
    limit 1
) earlier on true;

-- lock_limited_apps: make claims of apps with a limit follow one another, so that no two count the same room.
select id from app where concurrency is not null or circuit_failures >= %(threshold)s order by id for no key update;

-- store: keep documents by their SHA-256; what is there already stays as it is.
insert into document (sha256, size, body, location)
select distinct on (d.sha256) decode(d.sha256, 'hex'), d.size, d.body, d.location
from json_to_recordset(%(documents)s::json) as d(sha256 text, size bigint, body text, location text)
on conflict do nothing;

-- versions: of an app, versions that ran somewhere without having been registered. Their outputs are of no other version.
insert into app_version (app_id, version, digest)
select distinct r.app, r.ran, encode(sha256('{}'), 'hex')
from json_to_recordset(%(results)s::json) as r(app bigint, ran text)
where r.ran is not null and not exists (select from app_version v where v.app_id = r.app and v.version = r.ran)
  and exists (select from app a where a.id = r.app)
on conflict do nothing;

-- finish: apply results under their fences: attempt, new state, change and circuit in one statement; late ones are kept, not applied.
with result as materialized (
    select * from json_to_recordset(%(results)s::json) as r(
        task bigint, fence int, step smallint, app bigint, version bigint, ran text, pipeline_version bigint, outcome text, move text,
        input text, started timestamptz, output text, error text, reason text, log text, said text, delay float8,
        counted boolean, down boolean, origin_task bigint, origin_fence int, revision bigint, files jsonb, inputs jsonb,
        record jsonb, status text)
),
held as materialized (
    select t.id, t.fence, t.run_id, t.item_id, t.position, t.step, r.steps
    from result f
    join task t on t.id = f.task and t.fence = f.fence and t.state in ('running', 'submitted')
    join run r on r.id = t.run_id
    order by t.id
    for no key update of t
),
moved as (
    update task t
    set state = next.state,
        step = next.step,
        document = case when f.move = 'next' then decode(coalesce(f.output, f.input), 'hex') else t.document end,
        revision = case when f.move = 'next' then f.revision else t.revision end,
        tries = case when f.move = 'next' then 0 when f.counted then t.tries + 1 else t.tries end,
        fresh = t.fresh and next.state <> 'done',
        due_at = now() + make_interval(secs => coalesce(f.delay, 0)),
        started_at = null, lease_until = null, worker_id = null, handle = null, progress = null,
        held = t.held and next.state = 'waiting',
        reason = case when t.held and next.state = 'waiting' then t.reason else f.reason end,
        finished_at = case when next.state in ('done', 'failed') then now() end
    from held h
    join result f on f.task = h.id and f.fence = h.fence
    cross join lateral (
        select case when f.move = 'next' and h.step + 1 < h.steps then 'waiting'
                    when f.move = 'next' then 'done'
                    when f.move = 'retry' then 'waiting'
                    else 'failed' end as state,
               case when f.move = 'next' and h.step + 1 < h.steps then h.step + 1 else h.step end as step
    ) next
    where t.id = h.id
    returning t.id, t.fence, t.run_id, t.item_id, t.position, t.step, t.state
),
tried as (
    insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, input, output,
                         error, log, app_said, origin_task_id, origin_fence, files, inputs)
    select f.task, f.fence, f.step,
           -- the version that really ran, where that is not the app's present one
           coalesce(case when f.ran is not null then (
               select v.id from app_version v where v.app_id = f.app and v.version = f.ran order by v.id desc limit 1
           ) end, f.version),
           s.parameters,
           case when (f.task, f.fence) in (select id, fence from held) then f.outcome else 'late' end,
           %(worker)s, f.started, decode(f.input, 'hex'), decode(f.output, 'hex'), f.error,
           coalesce(f.log, ''), coalesce(f.said, ''), f.origin_task, f.origin_fence, f.files, f.inputs
    from result f
    join step s on s.pipeline_version_id = f.pipeline_version and s.position = f.step
    -- "in" is looked up in a hash; a join would go through all that is held for each result
    where (f.task, f.fence) in (select id, fence from held) or exists (select from task t where t.id = f.task)
    on conflict (task_id, fence) do update
        set outcome = excluded.outcome, output = excluded.output, error = excluded.error, log = excluded.log,
            finished_at = excluded.finished_at, app_said = excluded.app_said, files = excluded.files,
            inputs = excluded.inputs
        where attempt.outcome = 'lost'
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from moved
),
edit as materialized (
    select m.item_id, f.record, f.status, f.reason from moved m join result f on f.task = m.id and f.fence = m.fence
    where f.record is not null or f.status is not null
),
recorded as (
    update item i
    set metadata = case when edit.record is null then i.metadata else (
            select coalesce(jsonb_object_agg(m.key, m.value), '{}') from jsonb_each(i.metadata || edit.record) m
            where m.value <> 'null' or not edit.record ? m.key) end,
        status = coalesce(edit.status, i.status),
        status_reason = case when edit.status is null then i.status_reason else edit.reason end
    from (select e.* from edit e join item i on i.id = e.item_id and i.kind = 'item' order by i.id for no key update of i) edit
    where i.id = edit.item_id
),
told as (
    delete from live_log l using result f where l.task_id = f.task and l.fence = f.fence
),
health as (
    select f.app, count(*) filter (where f.down) as bad,
           count(*) filter (where f.outcome in ('done', 'skipped', 'failed') and f.origin_task is null and f.down is not true) as good,
           max(coalesce(f.error, f.reason)) filter (where f.down) as why
    from result f group by f.app
),
ill as materialized (
    select a.id from app a join health on health.app = a.id
    where health.good > 0 and a.circuit_failures > 0 or health.good = 0 and health.bad > 0
    order by a.id for no key update of a
),
circuit as (
    update app a
    set circuit_failures = case when health.good > 0 then 0 else a.circuit_failures + 1 end,
        circuit_reason = case when health.good > 0 then null else health.why end,
        circuit_open_until = case
            when health.good > 0 or a.circuit_failures + 1 < %(threshold)s then null
            else now() + make_interval(secs => least(300, 2 ^ least(a.circuit_failures + 1 - %(threshold)s, 10))) end
    from ill join health on health.app = ill.id
    where a.id = ill.id
)
select id, fence, run_id, state from moved;

-- renew: push back the leases of the tasks in hand; those that come back are still held.
with mine as (
    select * from json_to_recordset(%(tasks)s::json) as m(task bigint, fence int, progress real)
),
held as materialized (
    select t.id, m.progress
    from mine m join task t on t.id = m.task and t.fence = m.fence
    where t.worker_id = %(worker)s  -- which implies that it is in hand: see the CHECK; saying so misleads the planner
    order by t.id for no key update of t
),
kept as (
    update task t
    set lease_until = now() + make_interval(secs => %(lease)s), progress = coalesce(held.progress, t.progress)
    from held where t.id = held.id
    returning t.id, t.fence
),
seen as (
    update worker set seen_at = now() where id = %(worker)s
)
select id, fence from kept;

-- submit: note that engines have accepted tasks and run them elsewhere.
with handed as (
    select * from json_to_recordset(%(tasks)s::json) as h(task bigint, fence int, handle jsonb)
),
moved as (
    update task t set state = 'submitted', handle = h.handle
    from handed h
    where t.id = h.task and t.fence = h.fence and t.state = 'running' and t.worker_id = %(worker)s
    returning t.id, t.run_id, t.item_id, t.position, t.step
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'submitted' from moved
)
select id from moved;

-- adopt: take over submitted tasks whose worker is gone; the engine's job goes on, under the same fence.
with gone as (
    select t.id from task t
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
    join app a on a.id = s.app_id
    where t.state = 'submitted' and t.lease_until < now() and a.kind = any(%(kinds)s)
      and (%(apps)s::text[] is null or a.name = any(%(apps)s))
    order by t.id limit %(n)s for no key update of t skip locked
),
taken as (
    update task t set worker_id = %(worker)s, lease_until = now() + make_interval(secs => %(lease)s)
    from gone where t.id = gone.id
    returning t.*
)
select t.id, t.fence, t.item_id, i.name as item, t.step, t.tries, encode(t.document, 'hex') as input,
       t.started_at::text as started_at, extract(epoch from now() - t.started_at)::float8 as passed,
       t.revision, t.revision <> i.revision as stale, s.app_id, a.version_id, a.revision as app_revision, r.pipeline_version_id, d.body, d.location, t.handle,
       null as earlier_output, null as earlier_task, null as earlier_fence
from taken t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join app a on a.id = s.app_id
join item i on i.id = t.item_id
join document d on d.sha256 = t.document;

-- expire: tasks whose lease ran out become due again, or fail when their tries are used up; each leaves a lost attempt.
with gone as materialized (
    select t.id, t.fence, t.worker_id, t.started_at, t.document, t.tries, r.pipeline_version_id, s.parameters, a.version_id,
           t.step, greatest(coalesce(s.tries, a.tries), 3) as allowed, coalesce(w.hostname, 'unknown host') as hostname
    from task t
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
    join app a on a.id = s.app_id
    left join worker w on w.id = t.worker_id
    where t.state = 'running' and t.lease_until < now()
    order by t.id limit 5000
    for no key update of t skip locked
),
moved as (
    update task t
    set state = case when gone.tries + 1 >= gone.allowed then 'failed' else 'waiting' end,
        tries = gone.tries + 1, due_at = now(), started_at = null, lease_until = null, worker_id = null, progress = null,
        finished_at = case when gone.tries + 1 >= gone.allowed then now() end,
        held = t.held and gone.tries + 1 < gone.allowed,
        reason = case when t.held and gone.tries + 1 < gone.allowed then t.reason
                      else 'the worker on ' || gone.hostname || ' stopped answering during the step (try '
                           || gone.tries + 1 || ' of ' || gone.allowed || ')' end
    from gone where t.id = gone.id
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.state, t.reason
),
tried as (
    insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, input, error)
    select id, fence, step, version_id, parameters, 'lost', worker_id, started_at, document, 'the worker stopped answering'
    from gone
    on conflict (task_id, fence) do nothing
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from moved
)
select id, run_id, state from moved;

-- release: a worker that stops gives its tasks back at once; no try is used up. Submitted ones stay with their engine.
with mine as (
    select * from json_to_recordset(%(tasks)s::json) as m(task bigint, fence int)
),
handed_on as (
    update task t set lease_until = now() - interval '1 second'
    from mine m where t.id = m.task and t.fence = m.fence and t.worker_id = %(worker)s and t.state = 'submitted'
),
held as materialized (
    select t.id, t.fence, t.started_at, t.document, t.step, s.parameters, a.version_id
    from mine m
    join task t on t.id = m.task and t.fence = m.fence and t.worker_id = %(worker)s and t.state = 'running'
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
    join app a on a.id = s.app_id
    order by t.id for no key update of t
),
moved as (
    update task t
    set state = 'waiting', due_at = now(), started_at = null, lease_until = null, worker_id = null, progress = null
    from held where t.id = held.id
    returning t.id, t.run_id, t.item_id, t.position, t.step
),
tried as (
    insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, input, error)
    select id, fence, step, version_id, parameters, 'released', %(worker)s, started_at, document, 'the worker was stopped'
    from held
    on conflict (task_id, fence) do nothing
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'waiting' from moved
)
select id from moved;

-- lock_open_runs: hold the active runs that seem to be finished, so that nobody reopens one while it is closed.
select r.id from run r
where r.state = 'active' and not exists (select from watch w where w.run_id = r.id)
  and not exists (select from task t where t.run_id = r.id and t.state = 'waiting')
  and not exists (select from task t where t.run_id = r.id and t.state in ('running', 'submitted'))
order by r.id for no key update skip locked;

-- close_runs: of the runs held by lock_open_runs, those in which nothing is left to do are done.
with closed as (
    update run r set state = 'done', finished_at = now()
    where r.id = any(%(runs)s) and r.state = 'active'
      and not exists (select from task t where t.run_id = r.id and t.state = 'waiting')
      and not exists (select from task t where t.run_id = r.id and t.state in ('running', 'submitted'))
    returning r.id
),
noted as (
    insert into change (kind, run_id, state) select 'run', id, 'done' from closed
)
select id from closed;

-- disown: give back what this worker claimed but does not know of (the answer to its claim was lost on the way).
with known as (
    select * from json_to_recordset(%(tasks)s::json) as k(task bigint, fence int)
),
mine as materialized (
    select t.id from task t
    where t.worker_id = %(worker)s and t.state = 'running'
      and not exists (select from known k where k.task = t.id and k.fence = t.fence)
    order by t.id for no key update of t
),
moved as (
    update task t
    set state = 'waiting', due_at = now(), started_at = null, lease_until = null, worker_id = null, progress = null
    from mine where t.id = mine.id
    returning t.id, t.run_id, t.item_id, t.position, t.step
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'waiting' from moved
)
select id from moved;

-- cancelled: which of these attempts are of tasks that a person has cancelled.
select t.id, asked.fence from task t
join json_to_recordset(%(tasks)s::json) as asked(task bigint, fence int) on asked.task = t.id
where t.state = 'cancelled';

-- tell: what attempts in hand have to say: how far they are, and the newest lines of their logs (the last :most characters).
with said as materialized (
    select * from json_to_recordset(%(tasks)s::json) as s(task bigint, fence int, progress real, log text, total bigint)
),
held as materialized (
    select t.id, t.fence, s.progress, s.log, s.total from said s
    join task t on t.id = s.task and t.fence = s.fence and t.worker_id = %(worker)s
    order by t.id for no key update of t
),
moved as (
    update task t set progress = held.progress from held
    where t.id = held.id and held.progress is not null and t.progress is distinct from held.progress
)
insert into live_log as l (task_id, fence, log, total)
select id, fence, right(log, %(most)s), total from held where log <> ''
on conflict (task_id, fence) do update
    set log = right(l.log || excluded.log, %(most)s), total = excluded.total, updated_at = now();

-- fold: add up the tallies of the runs that have more than :most of them. Who reads them meanwhile sees the same sums.
with crowded as (
    select run_id from tally group by run_id having count(*) > %(most)s
),
old as (
    delete from tally t using crowded c
    where t.run_id = c.run_id and t.id in (
        select id from tally o where o.run_id = c.run_id for update skip locked)
    returning t.run_id, t.step, t.state, t.tasks
)
insert into tally (run_id, step, state, tasks)
select run_id, step, state, sum(tasks) from old group by run_id, step, state having sum(tasks) <> 0;
