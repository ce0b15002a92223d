-- Statements about one attempt: what it has said, and the files that belong to it.

-- log: what an attempt has said: of one in hand the newest lines, of one that has ended what its row keeps.
select t.id as task_id, i.name as item, t.run_id, s.name as step_name,
       coalesce(a.outcome, t.state) as state, a.error, a.started_at, a.finished_at,
       a.task_id is null and t.fence = %(fence)s and t.state in ('running', 'submitted') as live,
       case when a.task_id is null then t.progress end as progress,
       coalesce(a.log, l.log, '') as log,
       case when a.task_id is null then coalesce(l.total, 0) else length(a.log) end as total, a.files
from task t
join item i on i.id = t.item_id
join run r on r.id = t.run_id
left join attempt a on a.task_id = t.id and a.fence = %(fence)s
left join live_log l on l.task_id = t.id and l.fence = %(fence)s
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = coalesce(a.step, t.step)
where t.id = %(task)s and (a.task_id is not null or t.fence = %(fence)s and t.fence > 0);

-- files: what an attempt put out and used; where its output was used again, what the first attempt put out.
select coalesce(a.files, o.files, '[]') as files, coalesce(a.inputs, o.inputs, '[]') as inputs
from attempt a
left join attempt o on o.task_id = a.origin_task_id and o.fence = a.origin_fence
where a.task_id = %(task)s and a.fence = %(fence)s;

-- newest: an item's attempt in hand, else the one that ended last.
select * from (
    select t.id as task, t.fence, null::timestamptz as finished_at from task t
    where t.item_id = %(item)s and t.state in ('running', 'submitted')
    union all
    select a.task_id, a.fence, a.finished_at from task t join attempt a on a.task_id = t.id where t.item_id = %(item)s
) found
order by finished_at desc nulls first, task desc, fence desc
limit 1;
