-- Statements that gather failures, and remember what of them was tried again.

-- reasons: the different reasons for which tasks of a run stand failed.
select distinct left(coalesce(t.reason, ''), %(compared)s) as reason
from run r
join step s on s.pipeline_version_id = r.pipeline_version_id
join task t on t.run_id = r.id and t.step = s.position and t.state = 'failed'
where r.id = %(run)s;

-- try: remember that these tasks of a family are tried before the rest.
insert into trial (run_id, family, tried)
select %(run)s, %(family)s, jsonb_agg(jsonb_build_object('task', t.task, 'step', t.step, 'fence', t.fence) order by t.task)
from unnest(%(id)s::bigint[], %(step)s::int[], %(fence)s::int[]) as t(task, step, fence);

-- runs: the runs with failed tasks: the one named, else those that are active or ended in the last :days days.
select r.id from run r
where case when %(run)s::bigint is not null then r.id = %(run)s
           else r.state = 'active' or r.finished_at > now() - make_interval(days => %(days)s) end
  and (select sum(t.tasks) from tally t where t.run_id = r.id and t.state = 'failed') > 0
order by r.id;

-- grouped: the failed tasks of some runs by step, app version and reason, with the newest of each as an example.
select t.run_id as run, s.name as step, a.name as app, coalesce(nullif(x.app_said, ''), v.version, '') as version,
       left(coalesce(t.reason, ''), %(compared)s) as reason, count(*) as tasks, min(t.finished_at) as first_at,
       max(t.finished_at) as last_at, (array_agg(t.id order by t.finished_at desc))[1] as example
from run r
join step s on s.pipeline_version_id = r.pipeline_version_id
join app a on a.id = s.app_id
join task t on t.run_id = r.id and t.step = s.position and t.state = 'failed'
left join attempt x on x.task_id = t.id and x.fence = t.fence
left join app_version v on v.id = x.app_version_id
where r.id = any(%(runs)s) and (%(step)s::text is null or s.name = %(step)s) and (%(app)s::text is null or a.name = %(app)s)
group by t.run_id, s.name, a.name, 4, 5;

-- examples: some failed tasks with the end of the log of their last attempt.
select t.id as task, t.fence, t.run_id as run, i.name as item, s.name as step, t.reason, x.error,
       right(coalesce(x.log, ''), %(tail)s) as log, t.finished_at
from task t
join item i on i.id = t.item_id
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
left join attempt x on x.task_id = t.id and x.fence = t.fence
where t.id = any(%(tasks)s);

-- trials: of each family of some runs the last trial, and what became of the tasks that were tried.
select x.run_id as run, x.family, x.started_at, count(*) as tried, count(*) filter (where passed.ok) as done,
       count(*) filter (where not passed.ok and t.state = 'failed') as failed,
       count(*) filter (where not passed.ok and t.state = 'cancelled') as cancelled
from (select distinct on (run_id, family) * from trial where run_id = any(%(runs)s) order by run_id, family, id desc) x
cross join lateral jsonb_to_recordset(x.tried) as j(task bigint, step int, fence int)
join task t on t.id = j.task
cross join lateral (
    select exists (select from attempt a where a.task_id = j.task and a.fence > j.fence and a.step = j.step
                     and a.outcome in ('done', 'skipped')) as ok
) passed
group by x.id, x.run_id, x.family, x.started_at order by x.id;
