-- Statements that find what does not move. A lane is a step of an active run.

-- lanes: the lanes at which tasks stand, with all that may hold them back.
with standing as materialized (
    select t.run_id, t.step, coalesce(sum(t.tasks) filter (where t.state = 'waiting'), 0)::bigint as waiting,
           coalesce(sum(t.tasks) filter (where t.state in ('running', 'submitted')), 0)::bigint as in_hand
    from tally t join run r on r.id = t.run_id and r.state = 'active'
    group by t.run_id, t.step
)
select r.id as run, s.position, s.name as step, a.id as app_id, a.name as app, a.kind, a.url, a.deadline, a.concurrency,
       a.paused as app_paused, a.circuit_reason, a.circuit_open_until, a.version_id is null as unread,
       coalesce(a.circuit_open_until > now(), false) as circuit_open, r.paused as run_paused, a.quiet || r.quiet as quiet,
       exists (select from worker w where w.stopped_at is null and w.seen_at > now() - make_interval(secs => %(alive)s)
                 and case a.kind when 'python' then a.url else a.kind end = any(w.kinds)) as served,
       exists (select from worker w where w.stopped_at is null
                 and w.seen_at > now() - make_interval(secs => %(alive)s)) as workers,
       x.waiting, x.in_hand, held.tasks as held, later.tasks as later, oldest.due_at as oldest, now() as now
from standing x
join run r on r.id = x.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = x.step
join app a on a.id = s.app_id
cross join lateral (select count(*) as tasks from task t
                    where t.run_id = r.id and t.step = s.position and t.state = 'waiting' and t.held) held
cross join lateral (select count(*) as tasks from task t
                    where t.run_id = r.id and t.step = s.position and t.state = 'waiting' and not t.held
                      and t.due_at > now()) later
left join lateral (select t.due_at from task t
                   where t.run_id = r.id and t.step = s.position and t.state = 'waiting' and not t.held
                     and t.due_at <= now() order by t.due_at limit 1) oldest on true
where x.waiting > 0 or x.in_hand > 0
order by r.id, s.position;

-- waiting: of each of some lanes the tasks that have been due longest, and longer than :seconds.
select t.id as task, t.run_id as run, t.step as position, i.name as item, t.state, t.reason, t.due_at as since,
       extract(epoch from now() - t.due_at)::float8 as seconds
from unnest(%(runs)s::bigint[], %(steps)s::int[]) as l(run, step)
cross join lateral (
    select * from task o where o.run_id = l.run and o.step = l.step and o.state = 'waiting' and not o.held
      and o.due_at <= now() - make_interval(secs => %(seconds)s)
    order by o.due_at limit %(limit)s
) t
join item i on i.id = t.item_id;

-- held: of each of some lanes the tasks that are held back.
select t.id as task, t.run_id as run, t.step as position, i.name as item, t.state, t.reason, t.due_at as since,
       extract(epoch from now() - t.due_at)::float8 as seconds
from unnest(%(runs)s::bigint[], %(steps)s::int[]) as l(run, step)
cross join lateral (
    select * from task o where o.run_id = l.run and o.step = l.step and o.state = 'waiting' and o.held
    order by o.due_at limit %(limit)s
) t
join item i on i.id = t.item_id;

-- later: of each of some lanes the tasks that are to be tried again, those first that are due last.
select t.id as task, t.run_id as run, t.step as position, i.name as item, t.state, t.reason, t.tries,
       coalesce(x.finished_at, t.due_at) as since, extract(epoch from t.due_at - now())::float8 as due_in,
       greatest(0, extract(epoch from now() - coalesce(x.finished_at, now())))::float8 as seconds
from unnest(%(runs)s::bigint[], %(steps)s::int[]) as l(run, step)
cross join lateral (
    select * from task o where o.run_id = l.run and o.step = l.step and o.state = 'waiting' and not o.held
      and o.due_at > now()
    order by o.due_at desc limit %(limit)s
) t
join item i on i.id = t.item_id
left join attempt x on x.task_id = t.id and x.fence = t.fence;

-- in_hand: of each of some lanes the tasks that have been worked on longest.
select t.id as task, t.run_id as run, t.step as position, i.name as item, t.state, t.progress, t.started_at as since,
       extract(epoch from now() - t.started_at)::float8 as seconds, w.hostname,
       greatest(0, extract(epoch from now() - t.lease_until))::float8 as silent
from unnest(%(runs)s::bigint[], %(steps)s::int[]) as l(run, step)
cross join lateral (
    select * from task o where o.run_id = l.run and o.step = l.step and o.state in ('running', 'submitted')
    order by o.started_at limit %(limit)s
) t
join item i on i.id = t.item_id
left join worker w on w.id = t.worker_id;

-- failed: the tasks that have stood failed longest, in active runs and in those that ended in the last :days days.
select t.id as task, t.run_id as run, s.position, s.name as step, a.name as app, i.name as item, t.state, t.reason, t.tries,
       t.finished_at as since, extract(epoch from now() - t.finished_at)::float8 as seconds
from (
    select t.* from run r
    join step s on s.pipeline_version_id = r.pipeline_version_id
    join task t on t.run_id = r.id and t.step = s.position and t.state = 'failed'
    where r.id = any(%(runs)s)
    order by t.finished_at limit %(limit)s
) t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join app a on a.id = s.app_id
join item i on i.id = t.item_id;

-- failed_counts: how many tasks stand failed at which step of some runs.
select r.id as run, s.position, s.name as step, a.name as app, sum(t.tasks)::bigint as tasks
from run r
join tally t on t.run_id = r.id and t.state = 'failed'
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join app a on a.id = s.app_id
where r.id = any(%(runs)s)
group by r.id, s.position, s.name, a.name having sum(t.tasks) > 0 order by r.id, s.position;
