-- Statements about the processes that claim tasks.

-- register: a worker says that it is there.
insert into worker (hostname, pid, process, slots, kinds)
values (%(hostname)s, %(pid)s, %(process)s, %(slots)s, %(kinds)s) returning id;

-- neighbours: the workers on this machine that have not said goodbye.
select id, process from worker
where stopped_at is null and id <> %(worker)s and starts_with(process, %(machine)s);

-- bury: workers that are known to be dead; what they had in hand is free at once.
with freed as (
    update task set lease_until = now() - interval '1 second'
    where worker_id = any(%(workers)s) and state in ('running', 'submitted')
)
update worker set stopped_at = now() where id = any(%(workers)s) returning id;

-- retire: a worker has stopped.
update worker set stopped_at = now(), seen_at = now() where id = %(worker)s;

-- specs: all that a worker needs to know of some apps.
select a.id, a.name, a.kind, a.url, a.protocol, a.deadline, a.max_answer, a.options, a.tries, a.backoff, a.revision, a.version_id,
       v.version, v.metadata
from app a left join app_version v on v.id = a.version_id
where a.id = any(%(apps)s);

-- steps: the steps of some pipeline versions.
select pipeline_version_id, position, name, parameters, tries, backoff from step where pipeline_version_id = any(%(versions)s);

-- records: the records of some items as they are now, with their files and what other systems did to them.
select i.id, i.name, i.status, i.metadata, i.revision,
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
from item i where i.id = any(%(items)s) order by i.id;

-- live: the workers that were seen within :seconds and have not stopped.
select id, hostname, pid, slots, kinds, started_at, seen_at from worker
where stopped_at is null and seen_at > now() - make_interval(secs => %(seconds)s)
order by id;

-- session: who this connection is to the server. Its forerunner, cut off from us, is ended first, with what it left open.
with ended as materialized (
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where pid = %(pid)s and backend_start = %(started)s::timestamptz and pid <> pg_backend_pid()
)
select pid, backend_start::text as started, (select count(*) from ended) as ended
from pg_stat_activity where pid = pg_backend_pid();
