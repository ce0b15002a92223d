-- Statements that make runs whose items are packages.

-- alone: one who makes such runs at a time, until the transaction ends.
select pg_advisory_xact_lock(hashtext('tidemill packages'));

-- publishing: where the site publishes, and who packs.
select publishing from site;

-- standing: what there is under these names: an item of which kind, what of it is current and where, and the run that has it in hand.
select w.name, i.id, i.kind, i.metadata, c.id as file, c.fingerprint, c.store, c.options, c.key, c.size, c.task_id as task, c.fence,
       open.run_id as run
from (select value as name from json_array_elements_text(%(names)s::json)) w
join item i on i.name = w.name
left join computed_file c on c.item_id = i.id and c.replaced_at is null and (c.expires_at is null or c.expires_at > now())
left join lateral (
    select t.run_id from task t
    where t.item_id = i.id and t.state in ('waiting', 'running', 'submitted') order by t.run_id desc limit 1
) open on true;

-- upsert: make packages, or note that they have another plan now.
insert into item (name, kind, metadata)
select r.name, 'package', r.metadata from json_to_recordset(%(rows)s::json) as r(name text, metadata jsonb) order by r.name
on conflict (name) do update
set metadata = excluded.metadata || case when item.metadata ? 'after_run'
                                    then jsonb_build_object('after_run', item.metadata -> 'after_run') else '{}' end
where item.kind = 'package' and item.metadata - 'after_run' is distinct from excluded.metadata;

-- describe: what is said of packages whose files stay as they are.
update computed_file c set package = i.metadata ->> 'package', attributes = i.metadata -> 'attributes'
from json_array_elements_text(%(names)s::json) w join item i on i.name = w.value and i.kind = 'package'
where c.item_id = i.id and c.replaced_at is null
  and (c.package, c.attributes) is distinct from (i.metadata ->> 'package', i.metadata -> 'attributes');

-- title: a name for a batch of packages that is not taken, by the time and how often it was taken.
select title || case when taken = 0 then '' else ' (' || taken + 1 || ')' end as name
from (select 'packages ' || to_char(now(), 'YYYY-MM-DD HH24:MI:SS') as title) t
cross join lateral (select count(*) as taken from batch where name = t.title or starts_with(name, t.title || ' (')) n;

-- progress: the packages of a run: how each stands, how large it is, how far the attempt in hand says it is.
select t.id as task, t.position, i.name, i.metadata ->> 'project' as project,
       coalesce((i.metadata ->> 'size')::bigint, 0) as size, t.state, t.progress, t.reason, t.started_at,
       extract(epoch from now() - t.started_at)::float8 as seconds
from task t join item i on i.id = t.item_id
where t.run_id = %(run)s order by t.position;

-- steps: the steps of the newest version of this pipeline, with their apps.
select s.name, a.name as app, a.kind from pipeline p join step s on s.pipeline_version_id = p.version_id join app a on a.id = s.app_id
where p.name = %(pipeline)s order by s.position;


-- packers: the apps of the newest version of this pipeline, and of those that active runs go through.
select distinct a.name, a.kind from pipeline p
join pipeline_version v on v.pipeline_id = p.id
join step s on s.pipeline_version_id = v.id
join app a on a.id = s.app_id
where p.name = %(pipeline)s
  and (v.id = p.version_id or exists (select from run r where r.pipeline_version_id = v.id and r.state = 'active'))
order by a.name;
