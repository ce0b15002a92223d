-- Statements about items, their tasks and attempts.

-- attempt: one attempt with its run.
select a.task_id, a.fence, a.outcome, a.step, t.run_id from attempt a join task t on t.id = a.task_id
where a.task_id = %(task)s and a.fence = %(fence)s;

-- attempts: every attempt of an item, oldest first, with app, step, host and documents.
select a.task_id, a.fence, t.run_id, a.step, s.name as step_name, p.name as app, v.version as app_version, a.app_said,
       p.kind, p.url, a.parameters, a.outcome, w.hostname, w.pid, a.worker_id, a.started_at, a.finished_at,
       extract(epoch from a.finished_at - a.started_at)::float8 as seconds,
       encode(a.input, 'hex') as input, encode(a.output, 'hex') as output, a.error, a.log, a.origin_task_id, a.origin_fence,
       a.superseded_at, coalesce(a.files, o.files) as files, coalesce(a.inputs, o.inputs) as inputs
from task t
join attempt a on a.task_id = t.id
left join attempt o on o.task_id = a.origin_task_id and o.fence = a.origin_fence
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

-- process: what was done to an item, newest last: `past` steps of another system, then the succeeded, not superseded ones.
select * from (
    select p.name, p.details ->> 'app' as app, p.details ->> 'version' as version, p.details ->> 'hostname' as hostname,
           null::jsonb as parameters, null::timestamptz as started_at, p.finished_at, null as output,
           coalesce(p.details ->> 'log', '') as log, null::bigint as run_id, null::bigint as task_id, null::int as fence,
           false as reused, true as past, p.details, p.position as step, null::jsonb as files, null::jsonb as inputs
    from past_step p where p.item_id = %(item)s
    union all
    select s.name, p.name, v.version, w.hostname, a.parameters, a.started_at, a.finished_at, encode(a.output, 'hex'), a.log,
           t.run_id, a.task_id, a.fence, a.origin_task_id is not null, false, null, a.step,
           coalesce(a.files, o.files), coalesce(a.inputs, o.inputs)
    from task t
    join attempt a on a.task_id = t.id and a.outcome = 'done' and a.superseded_at is null
    left join attempt o on o.task_id = a.origin_task_id and o.fence = a.origin_fence
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = a.step
    left join app_version v on v.id = a.app_version_id
    left join app p on p.id = coalesce(v.app_id, s.app_id)
    left join worker w on w.id = a.worker_id
    where t.item_id = %(item)s
) entries
order by past desc, case when past then step end, finished_at, task_id, step;

-- files: the files of an item.
select f.id, s.name as source, s.url, f.key, f.size, f.etag, f.modified_at, f.attributes
from item_file x join file f on f.id = x.file_id join source s on s.id = f.source_id
where x.item_id = %(item)s order by s.name, f.key;

-- fields: the metadata keys that the site declares.
select fields from site;

-- make: make the records that do not exist yet, in order of name; those that came back are new.
insert into item (name, status, status_reason, metadata)
select r.name, r.status, r.reason, r.metadata
from json_to_recordset(%(rows)s::json) as r(name text, status text, reason text, metadata jsonb)
where not exists (select from item i where i.name = r.name)
order by r.name
on conflict (name) do nothing
returning id, name, kind, status, status_reason, metadata, revision;

-- hold: these records as they are until the transaction ends, locked in order of id.
select id, name, kind, status, status_reason, metadata, revision
from item where name in (select value from json_array_elements_text(%(names)s::json))
order by id for no key update;

-- write: change records that are held: keys that are put or removed, status and reason. A trigger raises the revisions.
update item i
set status = r.status, status_reason = r.reason,
    metadata = (i.metadata || r.put) - array(select json_array_elements_text(r.removed))
from json_to_recordset(%(rows)s::json) as r(id bigint, status text, reason text, put jsonb, removed json)
where i.id = r.id
returning i.id, i.revision;

-- hold_projects: keep these projects from being locked or unlocked until the transaction ends.
select id from project
where name in (select p.project from json_to_recordset(%(pairs)s::json) as p(project text)) order by id for share;

-- locked_out: of these items and projects, the pairs that a locked project would have to take in anew.
select distinct w.project, w.item
from json_to_recordset(%(pairs)s::json) as w(project text, item text)
join project p on p.name = w.project and p.locked
where not exists (select from project_item x join item i on i.id = x.item_id where x.project_id = p.id and i.name = w.item);

-- referring: how much there is that refers to an item, by what it is.
select (select count(*) from item_file where item_id = %(item)s) as files,
       (select count(*) from batch_item where item_id = %(item)s) as "places in batches",
       (select count(*) from task where item_id = %(item)s) as tasks,
       (select count(*) from past_step where item_id = %(item)s) as "past steps";

-- delete: take an item away; a trigger tells of it.
delete from item where id = %(item)s;
