-- Statements that set old results beside new ones, and let the old ones stand again. A generation is what one re-run, or one
-- going back, has put aside of a task: the attempts that bear the same time.

-- replaced: the generations of an item's tasks, newest first; in one run if it is named.
select t.id as task, t.run_id as run, x.superseded_at as at, min(x.step) as position,
       count(*) filter (where x.outcome in ('done', 'skipped')) as results
from task t join attempt x on x.task_id = t.id and x.superseded_at is not null
where t.item_id = %(item)s and (%(run)s::bigint is null or t.run_id = %(run)s)
group by t.id, t.run_id, x.superseded_at order by x.superseded_at desc, t.id;

-- generations: the generations of a run, newest first: when, from which step, of how many tasks.
select x.superseded_at as at, min(x.step) as position, count(distinct t.id) as tasks,
       count(*) filter (where x.outcome in ('done', 'skipped')) as results
from task t join attempt x on x.task_id = t.id and x.superseded_at is not null
where t.run_id = %(run)s
group by x.superseded_at order by x.superseded_at desc limit %(limit)s;

-- sides: of each step of a task the result that a generation held, and the one that stands.
select x.superseded_at is null as stands, x.step as position, s.name as step, a.name as app, v.version, x.app_said,
       x.parameters, x.outcome, x.started_at, x.finished_at, x.fence, x.files, x.inputs, w.hostname,
       extract(epoch from x.finished_at - x.started_at)::float8 as seconds, x.origin_task_id is not null as reused,
       encode(x.input, 'hex') as input, encode(coalesce(x.output, x.input), 'hex') as output, d.size, d.body, d.location
from attempt x
join task t on t.id = x.task_id
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = x.step
join document d on d.sha256 = coalesce(x.output, x.input)
left join app_version v on v.id = x.app_version_id
left join app a on a.id = coalesce(v.app_id, s.app_id)
left join worker w on w.id = x.worker_id
where x.task_id = %(task)s and x.outcome in ('done', 'skipped') and (x.superseded_at is null or x.superseded_at = %(at)s)
order by x.step, stands;

-- run: of each step of a run, how many results of a generation are equal to those that stand, differ, or have no successor.
select o.step as position, s.name as step, count(*) as results,
       count(*) filter (where coalesce(n.output, n.input) = coalesce(o.output, o.input)) as equal,
       count(*) filter (where coalesce(n.output, n.input) <> coalesce(o.output, o.input)) as differ,
       count(*) filter (where n.task_id is null) as missing,
       avg(extract(epoch from o.finished_at - o.started_at)) filter (where o.origin_task_id is null)::float8 as old_seconds,
       avg(extract(epoch from n.finished_at - n.started_at)) filter (where n.origin_task_id is null)::float8 as new_seconds
from task t
join attempt o on o.task_id = t.id and o.superseded_at = %(at)s and o.outcome in ('done', 'skipped')
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = o.step
left join attempt n on n.task_id = t.id and n.step = o.step and n.superseded_at is null and n.outcome in ('done', 'skipped')
where t.run_id = %(run)s
group by o.step, s.name order by o.step;

-- differing: the pairs of old and new results of a step that differ, in order of the items, with where their documents are.
select t.id as task, i.name as item, encode(coalesce(o.output, o.input), 'hex') as old,
       encode(coalesce(n.output, n.input), 'hex') as new, p.size as old_size, p.body as old_body, p.location as old_location,
       q.size as new_size, q.body as new_body, q.location as new_location
from task t
join item i on i.id = t.item_id
join attempt o on o.task_id = t.id and o.superseded_at = %(at)s and o.step = %(step)s and o.outcome in ('done', 'skipped')
join attempt n on n.task_id = t.id and n.step = o.step and n.superseded_at is null and n.outcome in ('done', 'skipped')
join document p on p.sha256 = coalesce(o.output, o.input)
join document q on q.sha256 = coalesce(n.output, n.input)
where t.run_id = %(run)s and coalesce(n.output, n.input) <> coalesce(o.output, o.input)
order by t.position limit %(limit)s;

-- chosen: to what each of :tasks would go back: the generation put aside at :at, else its newest; and how it would stand then.
-- A task of which nothing was put aside (at that time) is not among the rows.
-- Whether it fits: its first step began from what stands before it now. Always so for the newest, since nothing moved after it.
with generation as materialized (
    select x.task_id, x.superseded_at as at, min(x.step) as first,
           max(x.step) filter (where x.outcome in ('done', 'skipped')) as last,
           count(*) filter (where x.outcome in ('done', 'skipped')) as back,
           max(x.superseded_at) over (partition by x.task_id) as newest
    from attempt x
    where x.task_id = any(%(tasks)s) and x.superseded_at is not null
    group by x.task_id, x.superseded_at
)
select t.id as task, t.run_id as run, t.state in ('running', 'submitted') as busy, g.at, g.first, g.back, aside.results as aside,
       g.at = g.newest or g.first = t.entered_step or before.output = first.input as fits,
       coalesce(g.last, g.first - 1) + 1 as position, r.steps,
       encode(coalesce(last.output, before.output, first.input), 'hex') as document, last.finished_at,
       stopped.outcome as stopped, stopped.error
from generation g
join task t on t.id = g.task_id
join run r on r.id = t.run_id
left join lateral (
    select count(*) as results from attempt x
    where x.task_id = t.id and x.superseded_at is null and x.step >= g.first and x.outcome in ('done', 'skipped')
) aside on true
left join lateral (
    select x.input from attempt x where x.task_id = t.id and x.superseded_at = g.at and x.step = g.first order by x.fence limit 1
) first on true
left join lateral (
    select coalesce(x.output, x.input) as output from attempt x
    where x.task_id = t.id and x.superseded_at is null and x.step = g.first - 1 and x.outcome in ('done', 'skipped')
) before on true
left join lateral (
    select coalesce(x.output, x.input) as output, x.finished_at from attempt x
    where x.task_id = t.id and x.superseded_at = g.at and x.step = g.last and x.outcome in ('done', 'skipped')
) last on true
left join lateral (
    select x.outcome, x.error from attempt x
    where x.task_id = t.id and x.superseded_at = g.at and x.step = coalesce(g.last, g.first - 1) + 1 order by x.fence desc limit 1
) stopped on true
where g.at = coalesce(%(at)s::timestamptz, g.newest)
order by t.id;

-- go_back: let generations stand again and put aside what stands instead; the tasks follow, as `chosen` has worked it out.
with back as materialized (
    select * from jsonb_to_recordset(%(back)s::jsonb) as b(task bigint, at timestamptz, first int, step int, state text,
                                                           reason text, document text, finished_at timestamptz)
),
aside as (
    update attempt x set superseded_at = now() from back b
    where x.task_id = b.task and x.superseded_at is null and x.step >= b.first
),
again as (
    update attempt x set superseded_at = null from back b where x.task_id = b.task and x.superseded_at = b.at
),
moved as (
    update task t
    set state = b.state, step = b.step, document = decode(b.document, 'hex'), reason = b.reason, tries = 0, fresh = false,
        held = false, due_at = now(), revision = case when t.revision is not null then 0 end,
        finished_at = coalesce(b.finished_at, now())
    from back b where t.id = b.task
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.state
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from moved
)
select id, state from moved;
