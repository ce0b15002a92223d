-- Statements that make the catalogue true to a source. `seen` holds what lies there.

-- alone: one sync of a source at a time; a lock of the session, which holds back nobody's reading of the change feed.
select pg_try_advisory_lock(hashtext('sync'), %(source)s::int) as alone, now() as now;

-- free: the sync of this source is over.
select pg_advisory_unlock(hashtext('sync'), %(source)s::int);

-- plan_for_sets: large sets are joined here with tables that the planner last saw empty.
select set_config('enable_nestloop', 'off', false), set_config('enable_seqscan', 'on', false),
       set_config('plan_cache_mode', 'force_custom_plan', false), set_config('work_mem', '64MB', false);

-- seen_table: where what was seen goes, by COPY; it is gone with its connection. `modified_at`: seconds since 1970.
create temporary table seen (
    key text not null, size bigint not null, etag text not null, modified_at double precision not null, attributes jsonb not null,
    items text[] not null, project text, locks boolean not null
);

-- seen_analyze: let the planner know how much was seen.
analyze seen (key, project);

-- hold: what the source is now; nobody changes it until the transaction ends.
select url, layout, options from source where id = %(source)s for no key update;

-- find_odd: the keys of which the catalogue and the source do not say the same, in whatever: bytes, attributes, items, project.
create temporary table odd on commit drop as
select coalesce(s.key, f.key) as key
from (
    select s.key, s.size, s.etag, s.attributes, s.project, coalesce(named, '') as item
    from seen s left join lateral unnest(s.items) named on true
) s
full join (
    select f.key, f.size, f.etag, f.attributes, p.name as project, coalesce(i.name, '') as item,
           i.id is not null and p.id is not null and m.item_id is null as unplaced
    from file f
    left join project p on p.id = f.project_id
    left join item_file x on x.file_id = f.id
    left join item i on i.id = x.item_id
    left join project_item m on m.project_id = p.id and m.item_id = i.id
    where f.source_id = %(source)s
) f on f.key = s.key and f.item = s.item
where s.key is null or f.key is null or f.size <> s.size or f.etag <> s.etag or f.project is distinct from s.project
   or f.attributes <> s.attributes or f.unplaced;

-- find_fresh: what was seen under those keys. The catalogue has all else just so, and no statement need look at it.
create temporary table fresh on commit drop as select * from seen where key in (select key from odd);

-- all_odd: where there is nothing yet, nothing is gone either.
create temporary table odd (key text) on commit drop;

-- all_fresh: where there is nothing yet, all that was seen is new.
create temporary view fresh as select * from seen;

-- merge_projects: make the projects that were seen and do not exist yet.
with made as (
    insert into project (name) select distinct project from fresh where project is not null order by project
    on conflict (name) do nothing
    returning 1
)
select count(*) as n from made;

-- merge_items: make the items that were seen and do not exist yet, but none that only a locked project's files name.
with named as materialized (
    select distinct unnest(s.items) as name from fresh s left join project p on p.name = s.project where p.locked is not true
),
made as (
    insert into item (name) select n.name from named n left join item i on i.name = n.name where i.id is null order by n.name
    on conflict (name) do nothing
    returning 1
)
select count(*) as n from made;

-- add_files: make the files of a source that are new; how many, and the first of them.
with made as (
    insert into file (source_id, key, size, etag, modified_at, attributes, project_id)
    select %(source)s, s.key, s.size, s.etag, to_timestamp(s.modified_at), s.attributes, p.id
    from fresh s
    left join file f on f.source_id = %(source)s and f.key = s.key
    left join project p on p.name = s.project
    where f.id is null
    returning key
)
select (select count(*) from made) as n,
       (select coalesce(json_agg(key order by key), '[]') from (select key from made limit %(limit)s) first) as keys;

-- change_files: update the files of a source that are other than they were; the unchanged are not touched.
with made as (
    update file f
    set size = s.size, etag = s.etag, modified_at = to_timestamp(s.modified_at), attributes = s.attributes, project_id = p.id,
        seen_at = now(),
        changed_at = case when (f.size, f.etag) is distinct from (s.size, s.etag) then now() else f.changed_at end
    from fresh s left join project p on p.name = s.project
    where f.source_id = %(source)s and f.key = s.key
      and (f.size, f.etag, f.attributes, f.project_id) is distinct from (s.size, s.etag, s.attributes, p.id)
    returning f.key
)
select (select count(*) from made) as n,
       (select coalesce(json_agg(key order by key), '[]') from (select key from made limit %(limit)s) first) as keys;

-- find_gone: the files of a source that were not seen; those of locked projects are kept, but not a lock itself.
create temporary table gone on commit drop as
select f.id as file_id, f.key, p.locked is true and not l.locks as kept, l.locks
from file f
cross join lateral (select f.attributes @> '{"lock": true}' as locks) l
left join project p on p.id = f.project_id
where f.source_id = %(source)s and f.key in (select key from odd) and not exists (select from fresh s where s.key = f.key);

-- losing: how many files are gone and go, how many of those count, how many are kept, and the first that go.
select count(*) filter (where not kept) as gone, count(*) filter (where not kept and not locks) as counted,
       count(*) filter (where kept) as kept,
       (select coalesce(json_agg(key), '[]') from (
           select key from gone where not kept order by key limit %(limit)s) first) as keys
from gone;

-- files: how many files of a source may go: not those of locked projects, nor locks.
select count(*) as files from file f left join project p on p.id = f.project_id
where f.source_id = %(source)s and p.locked is not true and not f.attributes @> '{"lock": true}';

-- delete_files: take out the files that are gone, but none of a locked project.
with deleted as (
    delete from file f using gone g where f.id = g.file_id and not g.kept
    returning 1
)
select count(*) as n from deleted;

-- merge_links: tie files to the items that their keys name now and untie them from the others; those of locked projects stay.
with wanted as materialized (
    select i.id as item_id, f.id as file_id
    from fresh s cross join lateral unnest(s.items) named
    join item i on i.name = named and i.kind = 'item'
    join file f on f.source_id = %(source)s and f.key = s.key
),
untied as (
    delete from item_file x using fresh s, file f left join project p on p.id = f.project_id
    where f.source_id = %(source)s and f.key = s.key and f.id = x.file_id and p.locked is not true
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
select (select count(*) from tied) as tied, (select count(*) from untied) as untied;

-- tables_alone: have the catalogue's tables to oneself, if nobody is at any of them just now.
lock table source, project, item, file, item_file, project_item in access exclusive mode nowait;

-- first_load: whether there is nothing at all yet.
select not exists (select from file) and not exists (select from item) as empty;

-- aside_table: what looks at each row of files, links and memberships, or finds its place in an index, by itself.
create temporary table aside on commit drop as
select c.contype = 'f' as last, format('alter table %%s drop constraint %%I', c.conrelid::regclass, c.conname) as take,
       format('alter table %%s add constraint %%I %%s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) as put
from pg_constraint c
where c.conrelid in ('file'::regclass, 'item_file'::regclass, 'project_item'::regclass) and c.contype in ('f', 'p', 'u')
  and (c.contype = 'f' or not exists (select from pg_constraint r where r.contype = 'f' and r.conindid = c.conindid))
union all
select false, format('drop index %%s', x.indexrelid::regclass), pg_get_indexdef(x.indexrelid)
from pg_index x
where x.indrelid in ('item'::regclass, 'file'::regclass, 'item_file'::regclass, 'project_item'::regclass) and not x.indisunique;

-- set_aside: do without all that for now, as two thirds of the time of a large first load goes into it.
do $$
declare a record;
begin
    for a in select * from aside order by last desc loop execute a.take; end loop;
    alter table item_file disable trigger link_inserted;
end $$;

-- put_back: make the indexes and look at all rows at once, from now on at each again. Of the items, all new, the feed has told.
do $$
declare a record;
begin
    for a in select * from aside order by last loop execute a.put; end loop;
    alter table item_file enable trigger link_inserted;
end $$;

-- first_links: tie files to the items that their keys name, where none has been tied yet.
with tied as (
    insert into item_file (item_id, file_id)
    select i.id, f.id
    from seen s cross join lateral unnest(s.items) named
    join item i on i.name = named and i.kind = 'item'
    join file f on f.source_id = %(source)s and f.key = s.key
    returning 1
)
select count(*) as tied, 0 as untied from tied;

-- merge_members: put the seen items into their projects, unless those are locked.
with named as materialized (
    select distinct s.project, item from fresh s cross join lateral unnest(s.items) item where s.project is not null
),
made as (
    insert into project_item (project_id, item_id)
    select p.id, i.id from named n
    join project p on p.name = n.project and not p.locked
    join item i on i.name = n.item and i.kind = 'item'
    left join project_item x on x.project_id = p.id and x.item_id = i.id
    where x.item_id is null
    on conflict do nothing
    returning 1
)
select count(*) as n from made;

-- held_out: items, whether they exist or not, that a locked project did not take.
select p.name as project, count(distinct named) as items
from fresh s cross join lateral unnest(s.items) named
join project p on p.name = s.project and p.locked
where not exists (
    select from item i join project_item x on x.item_id = i.id and x.project_id = p.id where i.name = named
)
group by p.name order by p.name;

-- find_locks: the projects whose lock lies in the source.
create temporary table locking on commit drop as select distinct project from seen where locks;

-- lock_projects: lock the projects whose lock lies in the source; unlock those whose lock lay there and is gone.
with held as materialized (
    select id, name, locked from project
    where name in (select project from locking) or name = any(%(unlocked)s::text[])
    order by id for no key update
),
locked as (
    update project p set locked = true from held h
    where p.id = h.id and not h.locked and h.name in (select project from locking)
    returning 1
),
freed as (
    update project p set locked = false from held h
    where p.id = h.id and h.locked and h.name = any(%(unlocked)s::text[])
    returning 1
)
select (select count(*) from locked) as locked, (select count(*) from freed) as freed;

-- locks_gone: the projects whose lock lay in the source when it was last read and is gone, and which no other source locks.
select distinct p.name from file f join project p on p.id = f.project_id
where f.source_id = %(source)s and f.attributes @> '{"lock": true}'
  and not exists (select from locking l where l.project = p.name)
  and not exists (select from file o where o.project_id = p.id and o.source_id <> f.source_id and o.attributes @> '{"lock": true}');

-- synced: keep the record of a sync, and, unless it came to nothing, note when the source was last read.
with noted as (
    update source set synced_at = now() where id = %(source)s and %(did)s
)
insert into sync (source_id, started_at, finished_at, seen, created, changed, deleted, details)
values (%(source)s, %(started)s, clock_timestamp(), %(seen)s, %(created)s, %(changed)s, %(deleted)s, %(details)s::jsonb) returning id;

-- prune: forget a source's dry runs after a day, and after a month its syncs that found nothing to do; the newest stay.
delete from sync y where y.source_id = %(source)s
  and y.finished_at < now() - case when y.details @> '{"dry_run": true}' then interval '1 day' else interval '30 days' end
  and (y.details @> '{"dry_run": true}' or y.details @> '{"did_something": false}')
  and y.id < (select max(n.id) from sync n where n.source_id = %(source)s);
