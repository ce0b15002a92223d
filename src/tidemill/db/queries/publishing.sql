-- Statements that hand out what runs made.

-- final: a page of a run's tasks, each with its final document if it is done.
select t.id, t.position, i.name as item, t.step, s.name as step_name, t.state, t.reason, a.name as app, v.version,
       case when t.state = 'done' then encode(t.document, 'hex') end as sha256, d.size
from task t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join app a on a.id = s.app_id
join item i on i.id = t.item_id
left join document d on d.sha256 = t.document and t.state = 'done'
left join lateral (
    select v.version from attempt x join app_version v on v.id = x.app_version_id
    where x.task_id = t.id and x.step = t.step and x.outcome = 'done' and x.superseded_at is null
    order by x.fence desc limit 1
) v on true
where t.run_id = %(run)s and t.position > %(after)s
order by t.position limit %(n)s;

-- every_step: a page of a run's tasks with the document of each step that is done; a line without one where none is.
select t.id, t.position, i.name as item, coalesce(x.step, t.step) as step, s.name as step_name, t.state, t.reason,
       p.name as app, v.version, encode(x.output, 'hex') as sha256, d.size
from (select * from task where run_id = %(run)s and position > %(after)s order by position limit %(n)s) t
join run r on r.id = t.run_id
join item i on i.id = t.item_id
left join lateral (
    select distinct on (a.step) a.step, a.output, a.app_version_id from attempt a
    where a.task_id = t.id and a.outcome = 'done' and a.superseded_at is null
    order by a.step, a.fence desc
) x on true
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = coalesce(x.step, t.step)
join app p on p.id = s.app_id
left join app_version v on v.id = x.app_version_id
left join document d on d.sha256 = x.output
order by t.position, x.step;

-- bodies: where the bytes of some documents are.
select encode(sha256, 'hex') as sha256, body, location from document
where sha256 in (select decode(d, 'hex') from json_array_elements_text(%(documents)s::json) d);
