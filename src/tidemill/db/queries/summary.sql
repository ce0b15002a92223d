-- Statements that sum up a stretch of time, from :from up to :to. Attempts are found by when they finished, changes by when
-- they were made: the indexes on both times are small and read only what lies in between.

-- clock: what time it is.
select now() as now;

-- items: the items that came in, that were edited only, and that were deleted, by the changes that tell of them; and since
-- when there are changes, where older ones have been pruned.
with told as materialized (
    select item_id, bool_or(state = 'deleted') as deleted from change
    where at >= %(from)s and at < %(to)s and kind = 'item' and item_id is not null and project_id is null
    group by item_id
)
select count(*) filter (where i.created_at >= %(from)s and i.created_at < %(to)s) as added,
       count(*) filter (where i.created_at < %(from)s) as edited,
       count(*) filter (where told.deleted) as deleted,
       (select min(at) from (select at from change order by xid, id limit 100) oldest where exists (select from floor))
           as known_since
from told left join item i on i.id = told.item_id;

-- steps: what was tried at which step with which app and version, and how it ended.
with tried as materialized (
    select t.run_id, a.step, a.app_version_id, a.app_said, a.outcome, a.origin_task_id is not null as reused,
           count(*) as attempts, count(*) filter (where t.fence > a.fence) as followed
    from attempt a join task t on t.id = a.task_id
    where a.finished_at >= %(from)s and a.finished_at < %(to)s
    group by 1, 2, 3, 4, 5, 6
)
select s.name as step, coalesce(p.name, '') as app, coalesce(nullif(x.app_said, ''), v.version, '') as version, x.outcome, x.reused,
       sum(x.attempts)::bigint as attempts, sum(x.followed)::bigint as followed
from tried x
join run r on r.id = x.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = x.step
left join app_version v on v.id = x.app_version_id
left join app p on p.id = coalesce(v.app_id, s.app_id)
group by 1, 2, 3, 4, 5;

-- times: how long the attempts that succeeded took, per step; of every :nth task.
select s.name as step, count(*) as attempts,
       percentile_cont(0.5) within group (order by x.seconds)::float8 as median,
       percentile_cont(0.95) within group (order by x.seconds)::float8 as p95
from (
    select t.run_id, a.step, extract(epoch from a.finished_at - a.started_at) as seconds
    from attempt a join task t on t.id = a.task_id
    where a.finished_at >= %(from)s and a.finished_at < %(to)s and a.outcome = 'done' and a.origin_task_id is null
      and a.task_id %% %(nth)s = 0
) x
join run r on r.id = x.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = x.step
group by s.name;

-- put_out: the files that succeeded attempts put out, and their bytes.
select count(*) as files, coalesce(sum(f.size), 0)::bigint as bytes
from attempt a cross join lateral jsonb_to_recordset(a.files) as f(size bigint)
where a.finished_at >= %(from)s and a.finished_at < %(to)s and a.outcome = 'done' and a.files is not null
  and a.origin_task_id is null;

-- errors: the shapes of the reasons for which attempts failed (see failures.sql), with a task of each.
select translate(left(coalesce(a.error, ''), %(compared)s), '123456789', '000000000') as shape, count(*) as attempts, min(a.finished_at) as first_at,
       (array_agg(a.task_id order by a.finished_at))[1] as task
from attempt a
where a.finished_at >= %(from)s and a.finished_at < %(to)s and a.outcome = 'failed'
group by 1 order by attempts desc limit %(limit)s;

-- of_tasks: the items and runs of some tasks.
select t.id as task, t.run_id as run, i.name as item from task t join item i on i.id = t.item_id where t.id = any(%(tasks)s);

-- workers: the workers that were there, and when.
select hostname, started_at, coalesce(stopped_at, seen_at) as until, stopped_at is null as open
from worker where started_at < %(to)s and coalesce(stopped_at, seen_at) >= %(from)s order by started_at;

-- first_worker: when the first worker of the site was there.
select min(started_at) as at from worker;
