-- Statements over sources, files, items and projects. A search's parameters are made by `domain.item_search`.

-- matching: the ids of the items that a search finds, in order of name, with how many there are in all, counted up to :most.
select id, count(*) over () as total
from (
    select i.id, i.name
    from item i
    where i.kind = 'item' and (%(letters)s::text is null or strpos(lower(i.name), lower(%(letters)s)) > 0)
      and (%(grams_of)s::text is null or name_grams(i.name) @> search_grams(%(grams_of)s))
      and (%(contains)s::text[] is null or i.name ilike all(%(contains)s::text[]))
      and (%(prefixes)s::text[] is null or i.name like all(%(prefixes)s::text[]))
      and (%(from)s::text is null or i.name ~>=~ %(from)s) and (%(to)s::text is null or i.name ~<=~ %(to)s)
      and (%(below)s::text is null or i.name ~<~ %(below)s)
      and (%(statuses)s::text[] is null or i.status = any(%(statuses)s::text[]))
      and (%(projects)s::text[] is null or i.id = any(array(
          select x.item_id from project p join project_item x on x.project_id = p.id
          where p.name = any(%(projects)s::text[]) group by x.item_id having count(*) = cardinality(%(projects)s::text[]))))
      and (%(batches)s::text[] is null or i.id = any(array(
          select x.item_id from batch b join batch_item x on x.batch_id = b.id
          where b.name = any(%(batches)s::text[]) group by x.item_id having count(*) = cardinality(%(batches)s::text[]))))
      and (%(holding)s::text[] is null or i.metadata @> any(%(holding)s::text[]::jsonb[]))
      and (%(metadata)s::text is null or not exists (
          select from json_each_text(%(metadata)s::text::json) m where i.metadata ->> m.key is distinct from m.value))
    order by i.name
    limit %(most)s
) found
order by name
limit %(limit)s offset %(offset)s;

-- count: how many items there are.
select count(*) as total from item where kind = 'item';

-- rows: these items in order of name, with their projects and how many files they have.
select i.id, i.name, i.kind, i.status, i.status_reason, i.metadata, i.revision, i.created_at, i.updated_at,
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

-- ids: the ids of the items of these names.
select i.id from (select distinct value as name from json_array_elements_text(%(names)s::json)) n join item i on i.name = n.name;

-- packages: which of these names are those of packages, in order.
select i.name from item i
where i.kind = 'package' and i.name in (select value from json_array_elements_text(%(names)s::json)) order by i.name;

-- standing: how many of these items have which status, and some of them, in order of name.
select i.status, count(*) as items, (array_agg(i.name order by i.name))[:10] as names
from json_array_elements_text(%(ids)s::json) wanted join item i on i.id = wanted::bigint
group by i.status order by count(*) desc, i.status;

-- statuses: which statuses there are, found by leaping through the index from one to the next.
with recursive used as (
    (select status, 1 as nth from item where kind = 'item' order by status limit 1)
    union all
    select next.status, u.nth + 1 from used u
    cross join lateral (
        select i.status from item i where i.kind = 'item' and i.status > u.status order by i.status limit 1) next
    where u.nth < 100
)
select status from used order by status;

-- set_status: give those of these items that have the expected status, or any, another one; how many were changed.
with held as (
    select i.id from item i
    where i.id in (select value::bigint from json_array_elements_text(%(ids)s::json)) and i.kind = 'item'
      and (%(expected)s::text is null or i.status = %(expected)s)
      and (i.status, i.status_reason) is distinct from (%(status)s, %(reason)s)
    order by i.id for no key update
),
changed as (
    update item i set status = %(status)s, status_reason = %(reason)s from held where i.id = held.id returning 1
)
select count(*) as items from changed;

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
join item i on i.name = r.item and i.kind = 'item'
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
