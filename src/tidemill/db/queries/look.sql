-- Statements that only look: at runs, their pace, items, documents.

-- ends: the positions of a run's first and last task.
select min(position) as low, max(position) as high from task where run_id = %(run)s;

-- grid: where the tasks of a run from one position to another stand, one character each (see domain.states.grid_code), in
-- order of position.
select string_agg(
           chr(256 + step * 8 + case state when 'waiting' then 0 when 'running' then 1 when 'submitted' then 2
                                           when 'done' then 3 when 'failed' then 4 else 5 end), '') as cells,
       min(position) as first, max(position) as last, count(*) as tasks
from (
    select position, step, state from task
    where run_id = %(run)s and position between %(from)s and %(to)s order by position
) t;

-- positions: the positions of those tasks in order, for a run with gaps between them.
select array_agg(position order by position) as positions from task
where run_id = %(run)s and position between %(from)s and %(to)s;

-- window: a page of a run's tasks, filtered, in order of position.
select t.id, t.position, (select i.name from item i where i.id = t.item_id) as item, t.step, s.name as step_name, t.state, t.tries, t.fence, t.reason, t.progress,
       t.due_at, t.started_at, t.finished_at, extract(epoch from now() - t.started_at)::float8 as seconds,
       greatest(0, extract(epoch from t.due_at - now()))::float8 as due_in,
       encode(t.document, 'hex') as document
from (
    select * from task
    where run_id = %(run)s and position >= %(from)s
      and (%(states)s::text[] is null or state = any(%(states)s)) and (%(steps)s::int[] is null or step = any(%(steps)s))
    order by position
    limit %(limit)s
) t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
order by t.position;

-- searched: the same of those whose item's name contains :letters; :grams_of is the same where an index is to find them.
select t.id, t.position, i.name as item, t.step, s.name as step_name, t.state, t.tries, t.fence, t.reason, t.progress,
       t.due_at, t.started_at, t.finished_at, extract(epoch from now() - t.started_at)::float8 as seconds,
       greatest(0, extract(epoch from t.due_at - now()))::float8 as due_in,
       encode(t.document, 'hex') as document
from task t
join run r on r.id = t.run_id
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
join item i on i.id = t.item_id
where t.run_id = %(run)s and t.position >= %(from)s
  and (%(states)s::text[] is null or t.state = any(%(states)s)) and (%(steps)s::int[] is null or t.step = any(%(steps)s))
  and strpos(lower(i.name), lower(%(letters)s)) > 0
  and (%(grams_of)s::text is null or name_grams(i.name) @> search_grams(%(grams_of)s))
order by t.position
limit %(limit)s;

-- pace: of the newest :changes changes of the site, what this run got done in the last :seconds, and over how long.
with newest as materialized (
    select run_id, task_id, kind, at from change order by xid desc, id desc limit %(changes)s
),
span as (
    select greatest(now() - make_interval(secs => %(seconds)s), (select created_at from run where id = %(run)s),
                    case when count(*) >= %(changes)s then min(at) end) as since
    from newest
),
stirred as (
    select distinct task_id from newest, span where run_id = %(run)s and kind = 'task' and at >= span.since
)
select count(*) filter (where a.outcome = 'done') as done,
       extract(epoch from now() - span.since)::float8 as seconds
from span
left join attempt a on a.task_id = any(array(select task_id from stirred)) and a.finished_at >= span.since
group by span.since;

-- medians: the median seconds of an attempt of each step's app, from tasks spread over its latest runs and just moved.
with wanted as materialized (
    select s.position, s.app_id, r.pipeline_version_id
    from run r join step s on s.pipeline_version_id = r.pipeline_version_id where r.id = %(run)s
),
latest as materialized (
    select r.id, r.pipeline_version_id from run r
    where r.id = %(run)s or r.pipeline_version_id in (
        select s.pipeline_version_id from step s join wanted w on w.app_id = s.app_id)
    order by r.id = %(run)s desc, r.id desc limit 4
),
spread as (
    select distinct spot.id as task_id from latest l
    cross join lateral (select min(position) as low, max(position) as high from task t where t.run_id = l.id) ends
    cross join lateral generate_series(0, least(%(sample)s::int - 1, ends.high - ends.low)) n
    cross join lateral (
        select t.id from task t
        where t.run_id = l.id and t.position >= ends.low + (ends.high - ends.low)::bigint * n / %(sample)s::int
        order by t.position limit 1
    ) spot
    where ends.low is not null
),
newest as (
    select distinct c.task_id from (select run_id, task_id from change order by xid desc, id desc limit 500) c
    where c.run_id in (select id from latest) and c.task_id is not null
),
tried as materialized (
    -- one array, so that attempts are gone through once at the most, even by a plan made when there were none
    select s.app_id, extract(epoch from a.finished_at - a.started_at)::float8 as seconds
    from attempt a
    join task t on t.id = a.task_id
    join latest l on l.id = t.run_id
    join step s on s.pipeline_version_id = l.pipeline_version_id and s.position = a.step
    where a.task_id = any(array(select task_id from spread union select task_id from newest))
      and a.outcome = 'done' and a.origin_task_id is null
)
select w.position as step, (select percentile_cont(0.5) within group (order by seconds)::float8 from tried
                            where tried.app_id = w.app_id) as median
from wanted w order by w.position;

-- running: seconds that the tasks in hand of a run have taken so far, per step.
select step, coalesce(sum(extract(epoch from now() - started_at)), 0)::float8 as seconds from task
where run_id = %(run)s and state in ('running', 'submitted') group by step;

-- runs: runs, newest first, with how many of their tasks stand in each state; those of :ids if named.
select r.id, r.state, r.paused, r.priority, r.total, r.steps, r.created_at, r.finished_at, b.name as batch,
       p.name as pipeline, v.number as pipeline_version, counts.*
from (
    select * from run
    where (%(state)s::text is null or state = %(state)s) and (%(ids)s::bigint[] is null or id = any(%(ids)s))
    order by id desc limit %(limit)s offset %(offset)s
) r
join batch b on b.id = r.batch_id join pipeline_version v on v.id = r.pipeline_version_id
join pipeline p on p.id = v.pipeline_id
cross join lateral (
    select coalesce(sum(t.tasks) filter (where t.state = 'waiting'), 0)::bigint as waiting,
           coalesce(sum(t.tasks) filter (where t.state = 'running'), 0)::bigint as running,
           coalesce(sum(t.tasks) filter (where t.state = 'submitted'), 0)::bigint as submitted,
           coalesce(sum(t.tasks) filter (where t.state = 'done'), 0)::bigint as done,
           coalesce(sum(t.tasks) filter (where t.state = 'failed'), 0)::bigint as failed,
           coalesce(sum(t.tasks) filter (where t.state = 'cancelled'), 0)::bigint as cancelled,
           coalesce(sum(t.tasks * case when t.state in ('done', 'failed', 'cancelled') then r.steps else t.step end), 0)::bigint
               as settled_steps
    from tally t where t.run_id = r.id
) counts
order by r.id desc;

-- item: one item by its name, with its projects.
select i.id, i.name, i.kind, i.status, i.status_reason, i.metadata, i.revision, i.created_at, i.updated_at,
       coalesce((select json_agg(p.name order by p.name) from project_item x join project p on p.id = x.project_id
                 where x.item_id = i.id), '[]') as projects
from item i where i.name = %(name)s;

-- items: items whose name contains :letters, in order, each with where its newest task stands.
select i.id, i.name, i.status, i.metadata, i.revision, i.updated_at, newest.run_id as run, newest.state, newest.step,
       newest.reason, (select count(*) from item_file f where f.item_id = i.id) as files
from (
    select * from item
    where kind = 'item' and (%(letters)s::text is null
       or name_grams(name) @> search_grams(%(letters)s) and strpos(lower(name), lower(%(letters)s)) > 0)
    order by name limit %(limit)s offset %(offset)s
) i
left join lateral (
    select t.run_id, t.state, t.step, t.reason from task t where t.item_id = i.id order by t.run_id desc limit 1
) newest on true
order by i.name;

-- document: where a document's bytes are.
select size, body, location from document where sha256 = decode(%(sha256)s, 'hex');

-- workers: the processes that claim tasks, those at work first, with how much they have in hand.
select w.id, w.hostname, w.pid, w.slots, w.kinds, w.started_at, w.seen_at, w.stopped_at,
       w.stopped_at is null and w.seen_at > now() - make_interval(secs => %(seconds)s) as live,
       coalesce(hand.tasks, 0) as in_hand
from worker w
left join (
    select worker_id, count(*) as tasks from task where state in ('running', 'submitted') group by worker_id
) hand on hand.worker_id = w.id
where w.stopped_at is null or w.seen_at > now() - interval '1 day'
order by live desc, w.id desc limit 200;

-- clock: how long a run has taken until it finished, or now.
select extract(epoch from coalesce(finished_at, now()) - created_at)::float8 as seconds from run where id = %(run)s;
