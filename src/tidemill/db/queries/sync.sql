-- Statements that make the catalogue true to a source. `seen` holds what lies there.

-- alone: one sync of a source at a time; a lock of the session, which holds back nobody's reading of the change feed.
select pg_try_advisory_lock(hashtext('sync'), %(source)s::int) as alone, now() as now;

-- plan_for_sets: large sets are joined here with tables that the planner last saw empty.
select set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true);

-- seen_table: where what was seen goes, by COPY.
create temporary table seen (
    key text not null, size bigint not null, etag text not null, modified_at timestamptz, attributes jsonb not null,
    items text[] not null, project text, locks boolean not null
) on commit drop;

-- seen_analyze: let the planner know how much was seen.
analyze seen;

-- merge_projects: make the projects that were seen and do not exist yet.
with made as (
    insert into project (name) select distinct project from seen where project is not null order by project
    on conflict (name) do nothing
    returning 1
)
select count(*) as n from made;

-- merge_items: make the items that were seen and do not exist yet, but none that only a locked project's files name.
with named as materialized (
    select distinct unnest(s.items) as name from seen s left join project p on p.name = s.project where p.locked is not true
),
made as (
    insert into item (name) select n.name from named n left join item i on i.name = n.name where i.id is null order by n.name
    on conflict (name) do nothing
    returning 1
)
select count(*) as n from made;

-- add_files: make the files of a source that are new.
with made as (
    insert into file (source_id, key, size, etag, modified_at, attributes, project_id)
    select %(source)s, s.key, s.size, s.etag, s.modified_at, s.attributes, p.id
    from seen s
    left join file f on f.source_id = %(source)s and f.key = s.key
    left join project p on p.name = s.project
    where f.id is null
    on conflict do nothing
    returning 1
)
select count(*) as n from made;

-- change_files: update the files of a source that are other than they were; the unchanged are not touched.
with made as (
    update file f
    set size = s.size, etag = s.etag, modified_at = s.modified_at, attributes = s.attributes, project_id = p.id, seen_at = now(),
        changed_at = case when (f.size, f.etag) is distinct from (s.size, s.etag) then now() else f.changed_at end
    from seen s left join project p on p.name = s.project
    where f.source_id = %(source)s and f.key = s.key
      and (f.size, f.etag, f.attributes, f.project_id) is distinct from (s.size, s.etag, s.attributes, p.id)
    returning 1
)
select count(*) as n from made;

-- losing: how many files of a source are gone, of how many, leaving out those of locked projects; and the first of them.
with gone as materialized (
    select f.key from file f left join project p on p.id = f.project_id
    where f.source_id = %(source)s and p.locked is not true and not exists (select from seen s where s.key = f.key)
)
select (select count(*) from gone) as gone,
       (select count(*) from file where source_id = %(source)s) as files,
       (select coalesce(json_agg(key), '[]') from (select key from gone order by key limit %(limit)s) first) as keys;

-- kept: how many files of locked projects are gone from a source and stay in the catalogue.
select count(*) as n from file f join project p on p.id = f.project_id and p.locked
where f.source_id = %(source)s and not exists (select from seen s where s.key = f.key);

-- delete_files: take out the files of a source that are gone, but none of a locked project.
with gone as (
    delete from file f
    where f.source_id = %(source)s and not exists (select from seen s where s.key = f.key)
      and not exists (select from project p where p.id = f.project_id and p.locked)
    returning 1
)
select count(*) as n from gone;

-- merge_links: tie files to the items that their keys name now and untie them from the others; those of locked projects stay.
with wanted as materialized (
    select i.id as item_id, f.id as file_id
    from seen s cross join lateral unnest(s.items) named
    join item i on i.name = named
    join file f on f.source_id = %(source)s and f.key = s.key
),
untied as (
    delete from item_file x using file f left join project p on p.id = f.project_id
    where f.id = x.file_id and f.source_id = %(source)s and p.locked is not true
      and not exists (select from wanted w where w.item_id = x.item_id and w.file_id = x.file_id)
    returning 1
),
tied as (
    insert into item_file (item_id, file_id)
    select w.item_id, w.file_id from wanted w left join item_file x on x.item_id = w.item_id and x.file_id = w.file_id
    where x.file_id is null
    on conflict do nothing
    returning 1
)
select (select count(*) from tied) + (select count(*) from untied) as n;

-- merge_members: put the seen items into their projects, unless those are locked.
with wanted as materialized (
    select distinct p.id as project_id, i.id as item_id
    from seen s cross join lateral unnest(s.items) named
    join item i on i.name = named
    join project p on p.name = s.project and not p.locked
),
made as (
    insert into project_item (project_id, item_id)
    select w.project_id, w.item_id from wanted w
    left join project_item x on x.project_id = w.project_id and x.item_id = w.item_id
    where x.item_id is null
    on conflict do nothing
    returning 1
)
select count(*) as n from made;

-- held_out: items, whether they exist or not, that a locked project did not take.
select p.name as project, count(distinct named) as items
from seen s cross join lateral unnest(s.items) named
join project p on p.name = s.project and p.locked
where not exists (
    select from item i join project_item x on x.item_id = i.id and x.project_id = p.id where i.name = named
)
group by p.name order by p.name;

-- lock_projects: lock the projects whose lock lies in the source; unlock those whose lock lay there and is gone.
with locked as (
    update project p set locked = true
    where not p.locked and p.name in (select project from seen where locks)
    returning 1
),
freed as (
    update project p set locked = false
    where p.locked and p.name = any(%(unlocked)s::text[])
    returning 1
)
select (select count(*) from locked) as locked, (select count(*) from freed) as freed;

-- locks_gone: the projects whose lock lay in the source when it was last read and is gone.
select distinct p.name from file f join project p on p.id = f.project_id
where f.source_id = %(source)s and (f.attributes ->> 'lock')::boolean
  and not exists (select from seen s where s.locks and s.project = p.name);

-- synced: keep the record of a sync, and note when the source was last read.
with noted as (
    update source set synced_at = now() where id = %(source)s
)
insert into sync (source_id, started_at, seen, created, changed, deleted, details)
values (%(source)s, %(started)s, %(seen)s, %(created)s, %(changed)s, %(deleted)s, %(details)s::jsonb) returning id;

-- history: the newest syncs, of one source if named.
select y.id, s.name as source, y.started_at, y.finished_at, y.seen, y.created, y.changed, y.deleted, y.details
from sync y join source s on s.id = y.source_id
where %(source)s::text is null or s.name = %(source)s
order by y.id desc limit %(limit)s;
