-- Statements that start runs, steer them, and look at them.

-- entrants: the items of a batch from position :after on, with their files, for the source documents of a run.
select b.position, i.id, i.name, i.status, i.metadata, i.revision,
       coalesce((
           select json_agg(json_build_object('source', s.url, 'options', s.options, 'key', f.key, 'size', f.size, 'etag', f.etag,
                                             'attributes', f.attributes) order by s.name, f.key)
           from item_file x join file f on f.id = x.file_id join source s on s.id = f.source_id
           where x.item_id = i.id
       ), '[]') as files,
       coalesce((
           select json_agg(p.details || jsonb_build_object('name', p.name) order by p.position)
           from past_step p where p.item_id = i.id
       ), '[]') as past,
       i.kind, case when i.kind = 'package' then (
           select json_build_object('sha256', i.metadata ->> 'plan', 'size', d.size, 'body', d.body, 'location', d.location)
           from document d where d.sha256 = decode(i.metadata ->> 'plan', 'hex')
       ) end as plan
from batch_item b
join item i on i.id = b.item_id
where b.batch_id = %(batch)s and b.position > %(after)s
  and not (%(only_not_done)s and exists (
      select from task t join run r on r.id = t.run_id
      join pipeline_version v on v.id = r.pipeline_version_id
      where t.item_id = i.id and t.state in ('done', 'waiting', 'running', 'submitted') and v.pipeline_id = %(pipeline)s))
order by b.position
limit %(n)s;

-- enter: put items into a run, each with its source document: as waiting tasks, as failed ones where none could be made, or
-- as done ones where another system did all of the steps. Those that are in the run already stay as they are.
with entrant as materialized (
    select * from json_to_recordset(%(entrants)s::json) as e(position int, item bigint, sha256 text, size bigint, body text,
                                                             location text, reason text, revision bigint, past int)
),
stored as (
    insert into document (sha256, size, body, location)
    select distinct on (sha256) decode(sha256, 'hex'), size, body, location from entrant
    on conflict do nothing
),
entered as (
    insert into task (run_id, position, item_id, document, state, reason, finished_at, revision, step, entered_step)
    select r.id, e.position, e.item, decode(e.sha256, 'hex'),
           case when e.reason is not null then 'failed' when e.past >= r.steps then 'done' else 'waiting' end, e.reason,
           case when e.reason is not null or e.past >= r.steps then now() end, e.revision, least(e.past, r.steps - 1), e.past
    from entrant e join run r on r.id = %(run)s order by e.position
    on conflict do nothing
    returning 1
)
update run set total = total + (select count(*) from entered) where id = %(run)s returning total;

-- steer: pause, resume or reprioritise a run that is still active.
with steered as (
    update run set paused = coalesce(%(paused)s, paused), priority = coalesce(%(priority)s, priority)
    where id = %(run)s and state = 'active'
    returning id, paused
),
noted as (
    insert into change (kind, run_id, state) select 'run', id, case when paused then 'paused' else 'active' end from steered
)
select id from steered;

-- cancel: the tasks of a run that are not final become cancelled; the run with them unless only some were named.
with doomed as materialized (
    select t.id, t.fence, t.state, t.worker_id, t.started_at, t.document, t.step, s.parameters, a.version_id
    from task t
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
    join app a on a.id = s.app_id
    where t.run_id = %(run)s and t.state in ('waiting', 'running', 'submitted')
      and (%(tasks)s::bigint[] is null or t.id = any(%(tasks)s))
    order by t.id for no key update of t
),
moved as (
    update task t
    set state = 'cancelled', finished_at = now(), lease_until = null, worker_id = null, handle = null, progress = null,
        held = false, started_at = null, reason = %(reason)s
    from doomed d where t.id = d.id
    returning t.id, t.run_id, t.item_id, t.position, t.step
),
tried as (
    insert into attempt (task_id, fence, step, app_version_id, parameters, outcome, worker_id, started_at, input, error)
    select id, fence, step, version_id, parameters, 'cancelled', worker_id, started_at, document, %(reason)s
    from doomed where state in ('running', 'submitted')
    on conflict (task_id, fence) do nothing
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'cancelled' from moved
)
select count(*) as tasks from moved;

-- end: a cancelled run with nothing left in hand; it watches no more.
with ended as (
    update run set state = 'cancelled', finished_at = now(), paused = false where id = %(run)s and state = 'active' returning id
),
unwatched as (
    delete from watch w using ended where w.run_id = ended.id
),
noted as (
    insert into change (kind, run_id, state) select 'run', id, 'cancelled' from ended
)
select id from ended;

-- reopen: take the runs' rows first, so that nobody closes one while tasks of it become due again.
with held as materialized (
    select id from run where id = any(%(runs)s) order by id for no key update
),
reopened as (
    update run r set state = 'active', finished_at = null from held where r.id = held.id returning r.id
),
noted as (
    insert into change (kind, run_id, state) select 'run', id, 'active' from reopened
)
select id from reopened;

-- hold: take the rows of some tasks, so that the next statement sees their attempts as they are and will be.
select id from task where id = any(%(tasks)s) order by id for no key update;

-- matching: the tasks of a run that a filter names. Every part is optional; :steps and :shapes mean any of them.
select t.id from task t
where t.run_id = %(run)s
  and (%(tasks)s::bigint[] is null or t.id = any(%(tasks)s))
  and (%(states)s::text[] is null or t.state = any(%(states)s))
  and (%(steps)s::int[] is null or t.step = any(%(steps)s))
  and (%(items)s::text[] is null or t.item_id = any(array(select id from item where name = any(%(items)s))))
  and (%(reason)s::text is null or t.reason ilike '%%' || %(reason)s || '%%')
  and (%(shapes)s::text[] is null or translate(left(coalesce(t.reason, ''), %(compared)s), '123456789', '000000000')
                                     in (select unnest(%(shapes)s::text[])))
order by t.position;

-- across: where some items stand that came to a step of this name, in the newest run of each pipeline or in every run.
select t.id as task, t.run_id as run, s.position as step
from task t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.name = %(step)s
join pipeline_version v on v.id = r.pipeline_version_id
where t.item_id = any(%(items)s) and (%(every_run)s or not exists (
    select from task n join run nr on nr.id = n.run_id join pipeline_version nv on nv.id = nr.pipeline_version_id
    where n.item_id = t.item_id and n.run_id > t.run_id and nv.pipeline_id = v.pipeline_id))
order by t.id;

-- named: the items of these names.
select id, name from item where name = any(%(names)s::text[]);

-- project: the project of a name.
select id from project where name = %(project)s;

-- of_project: the items of a project.
select x.item_id as id from project_item x join project p on p.id = x.project_id where p.name = %(project)s order by 1;

-- retry: failed or cancelled tasks among :tasks are due again, at the step where they stopped.
with again as materialized (
    select id from task where run_id = %(run)s and id = any(%(tasks)s) and state in ('failed', 'cancelled')
    order by id for no key update
),
moved as (
    update task t set state = 'waiting', tries = 0, due_at = now(), finished_at = null, reason = null
    from again where t.id = again.id
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.fence
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'waiting' from moved
)
select id, step, fence from moved;

-- rerun_preview: how many tasks and finished steps a re-run of :tasks from their :steps would touch, and what it would leave.
select count(*) filter (where reached and not busy) as tasks,
       count(distinct item_id) filter (where reached and not busy) as items,
       count(distinct run_id) filter (where reached and not busy) as runs,
       count(*) filter (where busy) as busy,
       count(*) filter (where not reached and not busy and not elsewhere) as not_reached,
       count(*) filter (where not reached and not busy and elsewhere) as elsewhere,
       coalesce(sum(steps) filter (where reached and not busy), 0)::bigint as steps
from (
    select t.item_id, t.run_id, w.step < t.entered_step as elsewhere,
           t.state in ('running', 'submitted') and (t.step >= w.step) as busy,
           exists (select from attempt a where a.task_id = t.id and a.step = w.step and a.superseded_at is null) as reached,
           (select count(*) from attempt a where a.task_id = t.id and a.step >= w.step
              and a.outcome in ('done', 'skipped') and a.superseded_at is null) as steps
    from unnest(%(tasks)s::bigint[], %(steps)s::int[]) as w(task, step) join task t on t.id = w.task
) seen;

-- rerun: put :tasks back at their :steps with the input that the step had; attempts from there on are superseded, not erased.
with again as materialized (
    select t.id, w.step
    from unnest(%(tasks)s::bigint[], %(steps)s::int[]) as w(task, step) join task t on t.id = w.task
    where t.state not in ('running', 'submitted')
    order by t.id for no key update of t
),
start as materialized (
    select distinct on (a.task_id) a.task_id, a.input, a.step
    from attempt a join again on again.id = a.task_id and again.step = a.step
    where a.superseded_at is null
    order by a.task_id, a.fence desc
),
superseded as (
    update attempt a set superseded_at = now()
    from start where a.task_id = start.task_id and a.step >= start.step and a.superseded_at is null
),
moved as (
    update task t
    set state = 'waiting', step = start.step, document = start.input, tries = 0, fresh = %(fresh)s, due_at = now(),
        revision = case when t.revision is not null then 0 end,  -- the record may have been edited since
        finished_at = null, reason = case when t.held then t.reason end
    from start where t.id = start.task_id
    returning t.id, t.run_id, t.item_id, t.position, t.step
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, 'waiting' from moved
)
select id from moved;

-- promote: apply a late result by a person's decision, if the task still stands at that step with that input.
with late as materialized (
    select a.*, t.run_id, t.item_id, t.position, r.steps
    from attempt a join task t on t.id = a.task_id join run r on r.id = t.run_id
    where a.task_id = %(task)s and a.fence = %(fence)s and a.outcome = 'late' and a.output is not null and a.error is null
      and a.superseded_at is null
      and t.step = a.step and t.document = a.input and t.state in ('waiting', 'failed', 'cancelled')
    for no key update of t
),
applied as (
    update attempt a set outcome = 'done' from late where a.task_id = late.task_id and a.fence = late.fence
),
moved as (
    update task t
    set state = case when late.step + 1 < late.steps then 'waiting' else 'done' end,
        step = least(late.step + 1, late.steps - 1), document = late.output, held = false, tries = 0, due_at = now(), reason = null,
        finished_at = case when late.step + 1 < late.steps then null else now() end
    from late where t.id = late.task_id
    returning t.id, t.run_id, t.item_id, t.position, t.step, t.state
),
noted as (
    insert into change (kind, run_id, task_id, item_id, position, step, state)
    select 'task', run_id, id, item_id, position, step, state from moved
)
select id, run_id, state from moved;

-- get: one run with the names of its batch and pipeline.
select r.id, r.state, r.paused, r.priority, r.reuse, r.steps, r.total, r.created_at, r.finished_at, r.batch_id,
       b.name as batch, p.name as pipeline, v.number as pipeline_version, r.pipeline_version_id, r.quiet, now() as now,
       (select w.name from watch w where w.run_id = r.id) as watch
from run r join batch b on b.id = r.batch_id join pipeline_version v on v.id = r.pipeline_version_id
join pipeline p on p.id = v.pipeline_id
where r.id = %(run)s;

-- steps: the steps of a run with their apps, and why an app holds its tasks back.
select s.position, s.name, s.parameters, a.name as app, a.kind, a.url, a.paused, a.circuit_failures, a.circuit_open_until,
       coalesce(a.circuit_open_until > now(), false) as circuit_open, a.circuit_reason, a.concurrency, a.quiet, v.version
from run r join step s on s.pipeline_version_id = r.pipeline_version_id join app a on a.id = s.app_id
left join app_version v on v.id = a.version_id
where r.id = %(run)s order by s.position;

-- counts: how many tasks of a run stand at which step in which state.
select step, state, sum(tasks)::bigint as tasks from tally where run_id = %(run)s
group by step, state having sum(tasks) > 0 order by step, state;
