-- Statements that say how many stand where, from sums that are kept; nothing here counts tasks one by one but the held ones.

-- statuses: items by status, the most first.
select status, count(*) as items from item where kind = 'item' group by status order by items desc, status;

-- steps: the steps of the runs of each pipeline with their tasks by state; of the active runs, of one, or of all.
with wanted as materialized (
    select id, pipeline_version_id from run
    where case when %(run)s::bigint is not null then id = %(run)s else not %(active)s or state = 'active' end
),
standing as materialized (
    select w.pipeline_version_id, t.step, t.state, sum(t.tasks)::bigint as tasks
    from wanted w join tally t on t.run_id = w.id
    group by w.pipeline_version_id, t.step, t.state having sum(t.tasks) <> 0
)
select p.name as pipeline, v.number as version, s.position, s.name as step, a.name as app,
       coalesce((select json_object_agg(x.state, x.tasks) from standing x
                 where x.pipeline_version_id = v.id and x.step = s.position), '{}') as standing
from (select distinct pipeline_version_id as id from standing) shown
join pipeline_version v on v.id = shown.id
join pipeline p on p.id = v.pipeline_id
join step s on s.pipeline_version_id = v.id
join app a on a.id = s.app_id
order by p.name, v.number, s.position;

-- held: the tasks that are held back, by reason, the most first.
select coalesce(t.reason, '') as reason, s.name as step, count(*) as tasks, min(t.due_at) as since
from run r
join step s on s.pipeline_version_id = r.pipeline_version_id
join task t on t.run_id = r.id and t.step = s.position and t.state = 'waiting' and t.held
where r.state = 'active' and (%(run)s::bigint is null or r.id = %(run)s)
group by 1, 2 order by tasks desc, 1, 2 limit 50;

-- oldest: the task that has waited longest though it is due, with its run and step.
select t.id as task, i.name as item, t.run_id as run, s.name as step, t.due_at as since,
       extract(epoch from now() - t.due_at)::float8 as seconds
from run r
join step s on s.pipeline_version_id = r.pipeline_version_id
cross join lateral (
    select * from task o where o.run_id = r.id and o.step = s.position and o.state = 'waiting' and not o.held
      and o.due_at <= now()
    order by o.due_at limit 1
) t
join item i on i.id = t.item_id
where r.state = 'active' and (%(run)s::bigint is null or r.id = %(run)s)
order by t.due_at limit 1;
