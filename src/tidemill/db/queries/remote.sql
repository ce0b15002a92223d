-- Statements that ask for a worker behind a firewall, which is trusted with its own tasks alone.

-- register: such a worker says that it is there. It names no process, since no neighbour could look whether that lives.
insert into worker (hostname, pid, process, slots, kinds, token_id)
values (%(hostname)s, %(pid)s, '', %(slots)s, %(kinds)s, %(token)s) returning id;

-- unknown_functions: which of a worker's functions are no app's that it may work for.
select url from unnest(%(functions)s::text[]) as f(url)
where not exists (
    select from app a where a.kind = 'python' and a.url = f.url
      and (%(names)s::text[] is null or a.name = any(%(names)s)))
order by 1;

-- owned: whether this worker is one of this token's.
select id from worker where id = %(worker)s and token_id = %(token)s;

-- wait_turn: one after the other: this worker's claims, and its word that it does not know of what it was given.
select pg_advisory_xact_lock(hashtext('turn of a worker'), hashint8(%(worker)s));

-- overtaken: whether this worker has given back what it does not know of since it asked.
select id from worker where id = %(worker)s and turn > %(turn)s;

-- begin_turn: this worker has given back what it does not know of.
update worker set turn = %(turn)s where id = %(worker)s;

-- vouched: of these results, those of attempts that this worker was given, with what the site itself knows of each; `recorded` is what has become of it already.
with handed as (
    select * from json_to_recordset(%(results)s::json) as h(
        task bigint, fence int, version bigint, output text, origin_task bigint, origin_fence int)
)
select h.task, h.fence, s.position as step, s.app_id as app, r.pipeline_version_id as pipeline_version,
       coalesce(v.id, app.version_id) as version, encode(coalesce(a.input, t.document), 'hex') as input,
       coalesce(a.started_at, t.started_at)::text as started, a.outcome as recorded,
       exists (
           select from attempt o
           where o.task_id = h.origin_task and o.fence = h.origin_fence and o.outcome = 'done'
             and o.input = coalesce(a.input, t.document) and o.app_version_id = h.version
             and o.output = decode(h.output, 'hex')) as earlier
from handed h
join task t on t.id = h.task
join run r on r.id = t.run_id
left join attempt a on a.task_id = h.task and a.fence = h.fence and a.worker_id = %(worker)s
join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = coalesce(a.step, t.step)
join app on app.id = s.app_id
left join app_version v on v.id = h.version and v.app_id = s.app_id
where a.task_id is not null
   or t.fence = h.fence and t.worker_id = %(worker)s and t.state in ('running', 'submitted');

-- cancelled: which of these attempts of this worker are of tasks that a person has cancelled.
select t.id, asked.fence from task t
join json_to_recordset(%(tasks)s::json) as asked(task bigint, fence int) on asked.task = t.id
join attempt a on a.task_id = asked.task and a.fence = asked.fence and a.worker_id = %(worker)s
where t.state = 'cancelled';

-- specs: all that a worker needs to know of some apps, of those that it may work for.
select a.id, a.name, a.kind, a.url, a.protocol, a.deadline, a.max_answer, a.options, a.tries, a.backoff, a.revision, a.version_id,
       v.version, v.metadata
from app a left join app_version v on v.id = a.version_id
where a.id = any(%(ids)s) and (%(apps)s::text[] is null or a.name = any(%(apps)s));

-- steps: the steps of some pipeline versions, of the apps that it may work for.
select s.pipeline_version_id, s.position, s.name, s.parameters, s.tries, s.backoff
from step s join app a on a.id = s.app_id
where s.pipeline_version_id = any(%(versions)s) and (%(apps)s::text[] is null or a.name = any(%(apps)s));

-- own_items: which of these items this worker has in hand.
select distinct item_id as id from task
where worker_id = %(worker)s and state in ('running', 'submitted') and item_id = any(%(items)s);

-- input: a document, if it is what a task starts from that this worker has in hand.
select d.body, d.location, d.size from document d
where d.sha256 = %(sha256)s
  and exists (select from task t where t.worker_id = %(worker)s and t.state in ('running', 'submitted') and t.document = d.sha256);

-- source_files: the files in sources, of the items that this worker has in hand, whose key ends :path.
select distinct s.url as source, s.options, f.key
from task t
join item_file x on x.item_id = t.item_id
join file f on f.id = x.file_id
join source s on s.id = f.source_id
where t.worker_id = %(worker)s and t.state in ('running', 'submitted') and right(%(path)s, length(f.key)) = f.key;

-- step_files: whether a step has put out the file at a URL for an item that this worker has in hand.
select a.files from attempt a
join task done on done.id = a.task_id
where done.item_id in (
    select t.item_id from task t where t.worker_id = %(worker)s and t.state in ('running', 'submitted'))
  and a.files @> %(files)s::jsonb
limit 1;

-- left: a worker that its successor knows to be dead; what it had in hand is free at once.
with freed as (
    update task set lease_until = now() - interval '1 second'
    where worker_id = %(worker)s and state in ('running', 'submitted')
)
update worker set stopped_at = now() where id = %(worker)s returning id;
