-- Statements over sources, files, items and projects. A search's parameters are made by `domain.item_search`.

-- matching: the ids of the items that a search finds, in order of name, with how many there are in all.
select i.id, count(*) over () as total
from item i
where (%(contains)s::text[] is null or i.name ilike all(%(contains)s::text[]))
  and (%(prefixes)s::text[] is null or i.name like all(%(prefixes)s::text[]))
  and (%(statuses)s::text[] is null or i.status = any(%(statuses)s::text[]))
  and (%(projects)s::text[] is null or i.id in (
      select x.item_id from project p join project_item x on x.project_id = p.id
      where p.name = any(%(projects)s::text[]) group by x.item_id having count(*) = cardinality(%(projects)s::text[])))
  and (%(batches)s::text[] is null or i.id in (
      select x.item_id from batch b join batch_item x on x.batch_id = b.id
      where b.name = any(%(batches)s::text[]) group by x.item_id having count(*) = cardinality(%(batches)s::text[])))
  and not exists (
      select from json_each_text(%(metadata)s::json) m where i.metadata ->> m.key is distinct from m.value)
order by i.name
limit %(limit)s offset %(offset)s;

-- count: how many items there are.
select count(*) as total from item;

-- rows: these items in order of name, with their projects and how many files they have.
select i.id, i.name, i.status, i.metadata, i.revision, i.created_at, i.updated_at,
       (select coalesce(json_agg(p.name order by p.name), '[]') from project_item x join project p on p.id = x.project_id
        where x.item_id = i.id) as projects,
       f.files, f.size
from json_array_elements_text(%(ids)s::json) wanted
join item i on i.id = wanted::bigint
cross join lateral (
    select count(*) as files, coalesce(sum(f.size), 0)::bigint as size
    from item_file x join file f on f.id = x.file_id where x.item_id = i.id
) f
order by i.name;

-- by_name: the id of an item.
select id from item where name = %(name)s;

-- unknown: which of these names are no item's, in the order given.
select n.name
from (select value as name, min(ordinality) as nth
      from json_array_elements_text(%(names)s::json) with ordinality group by value) n
where not exists (select from item i where i.name = n.name)
order by n.nth;

-- not_in_status: which of these items have another status than :expected.
select i.name, i.status
from (select distinct value as name from json_array_elements_text(%(names)s::json)) n join item i on i.name = n.name
where i.status <> %(expected)s order by i.name;

-- lock_items: hold these items until the transaction ends, so that what was checked of them stays true.
select id from item where name in (select value from json_array_elements_text(%(names)s::json)) order by id for no key update;

-- set_status: give items a status; how many had another.
with changed as (
    update item i set status = %(status)s, status_reason = ''
    from (select distinct value as name from json_array_elements_text(%(names)s::json)) n
    where i.name = n.name and i.status <> %(status)s
    returning i.id
)
select count(*) as items from changed;

-- add_items: make items, or merge what is given into those that exist; a status or key that is not given stays.
with given as materialized (
    select distinct on (name) name, status, metadata
    from json_to_recordset(%(rows)s::json) as r(name text, status text, metadata jsonb) order by name
),
upserted as (
    insert into item as i (name, status, metadata)
    select name, coalesce(status, 'good'), coalesce(metadata, '{}') from given order by name
    on conflict (name) do update
    set status = coalesce((select g.status from given g where g.name = excluded.name), i.status),
        metadata = i.metadata || excluded.metadata
    where i.metadata is distinct from i.metadata || excluded.metadata
       or i.status is distinct from coalesce((select g.status from given g where g.name = excluded.name), i.status)
    returning i.id, i.status, i.revision = 1 as created
)
select count(*) filter (where created) as created, count(*) filter (where not created) as changed from upserted;

-- add_projects: make the projects that do not exist yet.
insert into project (name)
select distinct value from json_array_elements_text(%(names)s::json) where value is not null order by value
on conflict (name) do nothing;

-- locked: which of these projects are locked.
select name from project
where locked and name in (select value from json_array_elements_text(%(names)s::json)) order by name;

-- place_items: put items into projects; pairs of names. Locked projects take none.
insert into project_item (project_id, item_id)
select distinct p.id, i.id
from json_to_recordset(%(pairs)s::json) as r(project text, item text)
join project p on p.name = r.project and not p.locked
join item i on i.name = r.item
on conflict do nothing;

-- projects: all projects with how many items each has, in order of name.
select p.id, p.name, p.title, p.locked, p.metadata, p.created_at, count(x.item_id) as items
from project p left join project_item x on x.project_id = p.id
group by p.id order by p.name;

-- lock_project: lock or unlock a project.
update project set locked = %(locked)s where name = %(name)s returning id;

-- sources: all sources with how many files each has, in order of name.
select s.id, s.name, s.url, s.layout, s.synced_at, count(f.id) as files, coalesce(sum(f.size), 0)::bigint as size
from source s left join file f on f.source_id = s.id
group by s.id order by s.name;

-- announce: wake whoever follows the changes when the transaction commits.
select pg_notify('tidemill_change', '');

-- analyze: after a large set came in, so that the next statement is not planned as if there was nothing.
analyze item, file, item_file, project, project_item;
