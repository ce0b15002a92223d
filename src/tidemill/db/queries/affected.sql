-- Statements that find results by what made them: an app's version, a side input.

-- made: the standing results of an app by the version that made them: what it said of itself, else what was known of it.
select v.id as version_id, v.version, nullif(coalesce(nullif(x.app_said, ''), nullif(o.app_said, ''), v.version), v.version) as said, v.seen_at,
       v.id = a.version_id as current, count(*) as results, min(x.finished_at) as first_at, max(x.finished_at) as last_at
from app a
join app_version v on v.app_id = a.id
join attempt x on x.app_version_id = v.id and x.superseded_at is null and x.outcome in ('done', 'skipped')
left join attempt o on o.task_id = x.origin_task_id and o.fence = x.origin_fence
where a.name = %(app)s
group by v.id, v.version, 3, v.seen_at, a.version_id
order by last_at desc;

-- used: the checksums of a side input that standing results were made with, those used last first.
select used.sha256, used.url, max(used.size) as size, count(*) as results, min(used.finished_at) as first_at,
       max(used.finished_at) as last_at
from (
    select i.sha256, i.url, i.size, x.finished_at
    from attempt x
    cross join lateral jsonb_to_recordset(x.inputs) as i(name text, sha256 text, size bigint, url text)
    where x.inputs @> %(named)s::jsonb and x.superseded_at is null and x.outcome in ('done', 'skipped')
      and i.name = %(input)s
) used
group by used.sha256, used.url order by last_at desc;

-- by_version: the results of an app made by some of its versions (pairs of version and what it said); of each item only where no
-- newer run of the pipeline has that step behind it, or in every run.
with asked as materialized (
    select * from jsonb_to_recordset(%(made)s::jsonb) as m(version bigint, said text)
),
found as (
    select t.id as task, t.run_id as run, x.step
    from attempt x
    left join attempt o on o.task_id = x.origin_task_id and o.fence = x.origin_fence
    join app_version made on made.id = x.app_version_id
    join asked on asked.version = made.id
         and coalesce(asked.said, made.version) = coalesce(nullif(x.app_said, ''), nullif(o.app_said, ''), made.version)
    join task t on t.id = x.task_id
    join run r on r.id = t.run_id
    join pipeline_version v on v.id = r.pipeline_version_id
    where x.app_version_id = any(%(versions)s) and x.superseded_at is null and x.outcome in ('done', 'skipped')
      and (%(every_run)s or not exists (
          select from task n join run nr on nr.id = n.run_id join pipeline_version nv on nv.id = nr.pipeline_version_id
          where n.item_id = t.item_id and n.run_id > t.run_id and nv.pipeline_id = v.pipeline_id
            and (n.state = 'done' or n.step > x.step)))
)
select coalesce(array_agg(task order by task, step), '{}') as tasks, coalesce(array_agg(run order by task, step), '{}') as runs,
       coalesce(array_agg(step order by task, step), '{}')::int[] as steps
from found;

-- by_input: the results made with a side input of this name and any of these checksums; of each item only where no newer
-- run of the pipeline has that step behind it, or in every run.
with found as (
    select distinct t.id as task, t.run_id as run, x.step
    from attempt x
    cross join lateral jsonb_to_recordset(x.inputs) as i(name text, sha256 text)
    join task t on t.id = x.task_id
    join run r on r.id = t.run_id
    join pipeline_version v on v.id = r.pipeline_version_id
    where x.inputs @> any(%(named)s::jsonb[]) and x.superseded_at is null and x.outcome in ('done', 'skipped')
      and i.name = %(input)s and i.sha256 = any(%(checksums)s)
      and (%(every_run)s or not exists (
          select from task n join run nr on nr.id = n.run_id join pipeline_version nv on nv.id = nr.pipeline_version_id
          where n.item_id = t.item_id and n.run_id > t.run_id and nv.pipeline_id = v.pipeline_id
            and (n.state = 'done' or n.step > x.step)))
)
select coalesce(array_agg(task order by task, step), '{}') as tasks, coalesce(array_agg(run order by task, step), '{}') as runs,
       coalesce(array_agg(step order by task, step), '{}')::int[] as steps
from found;

-- shown: some results, each a task and a step, with all that a list of them tells, in order of the item's name.
select i.name as item, t.run_id as run, p.name as pipeline, w.step as position, s.name as step, a.name as app,
       coalesce(nullif(x.app_said, ''), nullif(o.app_said, ''), v.version) as version, x.inputs, x.finished_at, t.state,
       t.id as task, x.fence
from unnest(%(tasks)s::bigint[], %(steps)s::int[]) as w(task, step)
join task t on t.id = w.task
join item i on i.id = t.item_id
join run r on r.id = t.run_id
join pipeline_version pv on pv.id = r.pipeline_version_id
join pipeline p on p.id = pv.pipeline_id
join step s on s.pipeline_version_id = pv.id and s.position = w.step
join app a on a.id = s.app_id
join attempt x on x.task_id = t.id and x.step = w.step and x.superseded_at is null and x.outcome in ('done', 'skipped')
left join attempt o on o.task_id = x.origin_task_id and o.fence = x.origin_fence
left join app_version v on v.id = x.app_version_id
order by i.name, t.run_id, w.step
limit %(limit)s offset %(offset)s;

-- inputs: the names of the side inputs that the results of late have used.
select i.name, count(*) as results
from (select inputs from attempt where inputs is not null and superseded_at is null
        and finished_at > now() - make_interval(days => %(days)s) order by finished_at desc limit 10000) x
cross join lateral jsonb_to_recordset(x.inputs) as i(name text)
group by i.name order by i.name limit 200;
