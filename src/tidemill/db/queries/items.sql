-- Statements about items, their tasks and attempts.

-- attempt: one attempt with its run.
select a.task_id, a.fence, a.outcome, a.step, t.run_id from attempt a join task t on t.id = a.task_id
where a.task_id = %(task)s and a.fence = %(fence)s;

-- attempts: every attempt of an item, oldest first, with app, step, host and documents.
select a.task_id, a.fence, t.run_id, a.step, s.name as step_name, p.name as app, v.version as app_version, a.app_said,
       p.kind, p.url, a.parameters, a.outcome, w.hostname, w.pid, a.worker_id, a.started_at, a.finished_at,
       extract(epoch from a.finished_at - a.started_at)::float8 as seconds,
       encode(a.input, 'hex') as input, encode(a.output, 'hex') as output, a.error, a.log, a.origin_task_id, a.origin_fence,
       a.superseded_at
from task t
join attempt a on a.task_id = t.id
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = a.step
left join app_version v on v.id = a.app_version_id
left join app p on p.id = coalesce(v.app_id, s.app_id)
left join worker w on w.id = a.worker_id
where t.item_id = %(item)s and (%(run)s::bigint is null or t.run_id = %(run)s)
order by a.finished_at, a.task_id, a.fence;

-- tasks: where an item stands in each of its runs, newest first.
select t.id, t.run_id, t.step, t.state, t.tries, t.fence, t.reason, t.progress, t.due_at, t.started_at, t.finished_at,
       encode(t.document, 'hex') as document, s.name as step_name, p.name as pipeline, b.name as batch, r.steps, r.paused
from task t join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join pipeline_version v on v.id = r.pipeline_version_id join pipeline p on p.id = v.pipeline_id
join batch b on b.id = r.batch_id
where t.item_id = %(item)s order by t.run_id desc;

-- process: the succeeded, not superseded steps of an item in order, newest last (DESIGN's `process`).
select s.name, p.name as app, v.version, w.hostname, a.parameters, a.started_at, a.finished_at,
       encode(a.output, 'hex') as output, a.log, t.run_id, a.task_id, a.fence, a.origin_task_id is not null as reused
from task t
join attempt a on a.task_id = t.id and a.outcome = 'done' and a.superseded_at is null
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = a.step
left join app_version v on v.id = a.app_version_id
left join app p on p.id = coalesce(v.app_id, s.app_id)
left join worker w on w.id = a.worker_id
where t.item_id = %(item)s
order by a.finished_at, a.task_id, a.step;

-- files: the files of an item.
select f.id, s.name as source, s.url, f.key, f.size, f.etag, f.modified_at, f.attributes
from item_file x join file f on f.id = x.file_id join source s on s.id = f.source_id
where x.item_id = %(item)s order by s.name, f.key;
