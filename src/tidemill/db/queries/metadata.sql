-- Statements that make projects and items as the metadata files of the sources describe them.

-- alone: one load at a time; a lock of the session, which holds back nobody's reading of the change feed.
select pg_try_advisory_lock(hashtext('load-metadata')) as alone;

-- free: let the next load begin, also where the server has not noticed yet that this connection is closed.
select pg_advisory_unlock(hashtext('load-metadata'));

-- sources: all sources, and whether they were ever synced.
select id, name, url, options, synced_at is not null as synced from source order by name;

-- files: the files of a source whose keys begin and end so, and the projects that they belong to.
select f.key, f.size, f.etag, p.name as project
from file f left join project p on p.id = f.project_id
where f.source_id = %(source)s and starts_with(f.key, %(head)s) and right(f.key, length(%(tail)s)) = %(tail)s
order by f.key;

-- site: what the site declares of metadata.
select fields, project_fields, tables from site;

-- standing: all projects: whether they are locked, were ever loaded, have files.
select p.name, p.locked, p.described is not null as loaded, exists (select from file f where f.project_id = p.id) as files
from project p;

-- loaded_without_project: whether items of no project were ever loaded.
select exists (select from described where project_id is null) as loaded;

-- unknown_items: which of these items are in their projects neither by a file nor because a person or a step put them there.
select w.project, w.item
from json_to_recordset(%(pairs)s::json) as w(project text, item text)
where not exists (
    select from item i
    where i.name = w.item and i.kind = 'item' and (
        w.project is null
        or exists (select from project_item x join project p on p.id = x.project_id where x.item_id = i.id and p.name = w.project
                   and not exists (select from described d where d.item_id = i.id and d.project_id = p.id and d.named))
        or exists (select from item_file x join file f on f.id = x.file_id join project p on p.id = f.project_id
                   where x.item_id = i.id and p.name = w.project)));

-- not_items: which of these names are those of something else than an item of the collection.
select i.name from json_array_elements_text(%(names)s::json) n join item i on i.name = n.value where i.kind <> 'item';

-- make_project: make a project if there is none of that name.
insert into project (name) values (%(name)s) on conflict (name) do nothing returning id;

-- hold_project: a project as it is until the transaction ends.
select id, title, metadata, locked, described from project where name = %(name)s for no key update;

-- missing_items: which of these names are no item's.
select n.value as name from json_array_elements_text(%(names)s::json) n
where not exists (select from item i where i.name = n.value);

-- make_items: make items that do not exist yet, in order of name; those that came back are new.
with made as (
    insert into item (name, metadata)
    select r.name, r.put from json_to_recordset(%(rows)s::json) as r(name text, put jsonb) order by r.name
    on conflict (name) do nothing
    returning id, name
),
noted as (
    insert into described (item_id, project_id, keys, named)
    select m.id, %(project)s::bigint, (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(r.put) k), r.named
    from json_to_recordset(%(rows)s::json) as r(name text, put jsonb, named boolean) join made m on m.name = r.name
)
select name from made;

-- place_items: put new items into a project, all at once: what tells the feed of them goes through all items each time.
insert into project_item (project_id, item_id)
select %(project)s, i.id from json_array_elements_text(%(names)s::json) n join item i on i.name = n.value;

-- plan_by_index: a plan that was made while the tables were small would go on reading all of them; and one does for all sets.
select set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true);

-- other_items: which of these items there are not yet, and which are other than the tables say, or not in the project.
select r.name, i.id is null as missing
from json_to_recordset(%(rows)s::json) as r(name text, put jsonb, named boolean)
left join item i on i.name = r.name
left join described d on d.item_id = i.id and coalesce(d.project_id, 0) = coalesce(%(project)s::bigint, 0)
where d.id is null or d.named <> r.named or i.metadata || r.put <> i.metadata
   or d.keys <> (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(r.put) k)
   or %(project)s::bigint is not null
      and not exists (select from project_item x where x.project_id = %(project)s::bigint and x.item_id = i.id);

-- gone_items: the items that a project's tables described before and do not name any more.
select i.name from described d join item i on i.id = d.item_id
where coalesce(d.project_id, 0) = coalesce(%(project)s::bigint, 0)
  and i.name not in (select value from json_array_elements_text(%(names)s::json));

-- hold_items: lock these items, in order of id.
with held as (
    select i.id from item i
    where i.id in (select h.id from json_array_elements_text(%(names)s::json) n join item h on h.name = n.value)
    order by i.id for no key update
)
select count(*) as n from held;

-- file_values: of these items, the different values that a path has in the attributes of their files, and how many files.
select i.name, c.field, count(distinct f.id) as n, coalesce(jsonb_agg(distinct v.value) filter (where v.value is not null), '[]') as "values"
from json_array_elements_text(%(names)s::json) w
join item i on i.name = w.value
cross join json_to_recordset(%(collects)s::json) as c(field text, path text)
left join item_file x on x.item_id = i.id
left join file f on f.id = x.file_id
left join lateral jsonb_path_query(f.attributes, c.path::jsonpath) v(value) on true
group by i.name, c.field;

-- merge_items: give items what the tables say: what is new or other is put, what the same tables said before and say no
-- longer is taken out, all else stays. They are put into the project. What is as it was is not written.
with wanted as materialized (
    select i.id, i.metadata, r.put, r.named, d.keys, d.named as named_before
    from json_to_recordset(%(rows)s::json) as r(name text, put jsonb, named boolean)
    join item i on i.name = r.name
    left join described d on d.item_id = i.id and coalesce(d.project_id, 0) = coalesce(%(project)s::bigint, 0)
),
renewed as materialized (
    select w.id, w.metadata, w.keys, w.named, w.named_before,
           (w.metadata - array(
               select k from jsonb_array_elements_text(w.keys) k
               where not w.put ? k and not exists (
                   select from described o
                   where o.item_id = w.id and coalesce(o.project_id, 0) <> coalesce(%(project)s::bigint, 0) and o.keys ? k)
           )) || w.put as metadata_now,
           (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(w.put) k) as keys_now
    from wanted w
),
changed as (
    update item i set metadata = r.metadata_now from renewed r
    where i.id = r.id and i.metadata is distinct from r.metadata_now
    returning 1
),
noted as (
    insert into described (item_id, project_id, keys, named)
    select r.id, %(project)s::bigint, r.keys_now, r.named from renewed r
    where (r.keys, r.named_before) is distinct from (r.keys_now, r.named)
    on conflict ((coalesce(project_id, 0)), item_id) do update set keys = excluded.keys, named = excluded.named
),
placed as (
    insert into project_item (project_id, item_id)
    select %(project)s::bigint, r.id from renewed r
    where %(project)s::bigint is not null
      and not exists (select from project_item x where x.project_id = %(project)s::bigint and x.item_id = r.id)
    on conflict do nothing
    returning 1
)
select (select count(*) from changed) as changed, (select count(*) from placed) as placed;

-- drop_items: take what a project's tables said of these items, which they no longer name, out of the items' records, and the
-- items out of the project, unless files say that they are in it.
with gone as materialized (
    select d.id, d.item_id, i.name, d.keys,
           exists (select from item_file x join file f on f.id = x.file_id
                   where x.item_id = d.item_id and f.project_id = d.project_id) as stays
    from json_array_elements_text(%(names)s::json) n
    join item i on i.name = n.value
    join described d on d.item_id = i.id and coalesce(d.project_id, 0) = coalesce(%(project)s::bigint, 0)
),
bare as (
    update item i set metadata = i.metadata - array(
        select k from jsonb_array_elements_text(g.keys) k
        where not exists (select from described o where o.item_id = g.item_id and o.id <> g.id and o.keys ? k))
    from gone g where i.id = g.item_id and g.keys <> '[]'
),
forgotten as (
    delete from described d using gone g where d.id = g.id
),
out as (
    delete from project_item x using gone g
    where x.item_id = g.item_id and x.project_id = %(project)s::bigint and not g.stays
)
select name, stays from gone order by name;

-- project_values: the different values that paths have in the metadata of a project's items, or in the attributes of its
-- files, and how many items or files it has.
with members as materialized (
    select i.id, i.metadata from project_item x join item i on i.id = x.item_id and i.kind = 'item'
    where x.project_id = %(project)s
),
its_files as materialized (
    select f.id, f.attributes from file f where f.project_id = %(project)s
    union all
    select f.id, f.attributes from file f
    where f.project_id is distinct from %(project)s
      and f.id in (select x.file_id from item_file x join members m on m.id = x.item_id)
)
select c.field,
       case c.origin when 'files' then (select count(*) from its_files) else (select count(*) from members) end as n,
       (select coalesce(jsonb_agg(v.value), '[]') from (
            select distinct found.value from (
                select jsonb_path_query(m.metadata, c.path::jsonpath) as value from members m where c.origin = 'items'
                union all
                select jsonb_path_query(f.attributes, c.path::jsonpath) from its_files f where c.origin = 'files'
            ) found
        ) v) as "values"
from json_to_recordset(%(collects)s::json) as c(field text, origin text, path text);

-- write_project: give a project what its tables say, if that is other than it was, and remember which keys they wrote;
-- whether anything of it that people see is other than it was.
with told as (
    select p.id, p.title, p.metadata, coalesce(%(title)s, p.title) as title_now,
           (p.metadata - array(select jsonb_array_elements_text(coalesce(p.described, '[]')))) || %(put)s::jsonb as metadata_now,
           (select coalesce(jsonb_agg(k order by k), '[]') from jsonb_object_keys(%(put)s::jsonb) k) as keys_now
    from project p where p.id = %(project)s
)
update project p set title = t.title_now, metadata = t.metadata_now, described = t.keys_now
from told t
where p.id = t.id and (p.title, p.metadata, p.described) is distinct from (t.title_now, t.metadata_now, t.keys_now)
returning (t.title, t.metadata) is distinct from (p.title, p.metadata) as changed;
