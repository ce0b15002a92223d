-- Statements over apps and pipelines.

-- apps: all apps with their newest version, what they have in hand, and in how many pipelines they stand now.
select a.id, a.name, a.kind, a.url, a.protocol, a.concurrency, a.deadline, a.max_answer, a.tries, a.backoff,
       a.options, a.quiet, now() as now, a.paused, a.circuit_failures, a.circuit_open_until, a.circuit_reason, a.revision, v.version, v.identifier,
       coalesce(v.metadata, '{}') as metadata, v.seen_at,
       (select count(*) from task t join run r on r.id = t.run_id
        join step s on s.pipeline_version_id = r.pipeline_version_id and s.position = t.step
        where t.state in ('running', 'submitted') and s.app_id = a.id) as in_hand,
       (select coalesce(json_agg(distinct p.name order by p.name), '[]') from pipeline p
        join step s on s.pipeline_version_id = p.version_id where s.app_id = a.id) as pipelines
from app a left join app_version v on v.id = a.version_id
where %(name)s::text is null or a.name = %(name)s
order by a.name;

-- keep_version: what an app says of itself, kept once; its id.
with kept as (
    insert into app_version (app_id, version, identifier, metadata, digest)
    values (%(app)s, %(version)s, %(identifier)s, %(metadata)s::jsonb, %(digest)s)
    on conflict (app_id, version, digest) do nothing
    returning id
)
select id from kept
union all
select id from app_version where app_id = %(app)s and version = %(version)s and digest = %(digest)s
limit 1;

-- announce_apps: an app changed; wake workers and pages when the transaction commits.
with noted as (
    insert into change (kind, state) values ('app', %(state)s)
)
select pg_notify('tidemill_work', ''), pg_notify('tidemill_change', '');

-- pipelines: all pipelines with the steps of their newest version, in order of name.
select p.id, p.name, p.title, p.version_id, v.number, v.created_at,
       (select coalesce(json_agg(json_build_object('name', s.name, 'app', a.name, 'parameters', s.parameters,
                                                   'tries', s.tries, 'backoff', s.backoff) order by s.position), '[]')
        from step s join app a on a.id = s.app_id where s.pipeline_version_id = p.version_id) as steps
from pipeline p left join pipeline_version v on v.id = p.version_id
where %(name)s::text is null or p.name = %(name)s
order by p.name;

-- lock: changes to what a site file describes follow one another.
select pg_advisory_xact_lock(hashtext('tidemill apply'));
