-- Statements that plan packages: what there is to pack, project by project.

-- site: what the site says of its packages, and its words.
select title, vocabulary, packages, tables from site where id = 1;

-- sources: where files lie, and how each place is reached.
select name, url, options from source order by name;

-- projects: the projects of these names, or all of them.
select name, title, metadata, locked from project
where %(names)s::text[] is null or name = any(%(names)s)
order by name collate "C";

-- project_items: the items of a project, with all the projects that they stand in, and whether one of these is locked.
select i.id, i.name, i.status, i.metadata, x.projects, x.locked
from project p
join project_item m on m.project_id = p.id
join item i on i.id = m.item_id and i.kind = 'item'
cross join lateral (
    select array_agg(o.name order by o.name collate "C") as projects, bool_or(o.locked) as locked
    from project_item n join project o on o.id = n.project_id where n.item_id = i.id
) x
where p.name = %(project)s
order by i.name collate "C";

-- loose_items: the next items that stand in no project.
select i.id, i.name, i.status, i.metadata, '{}'::text[] as projects, false as locked
from item i
where i.kind = 'item' and i.id > %(after)s and not exists (select from project_item m where m.item_id = i.id)
order by i.id limit %(n)s;

-- all_items: every item, with the projects that it stands in.
select i.id, i.name, i.status, i.metadata, coalesce(x.projects, '{}') as projects, coalesce(x.locked, false) as locked
from item i
left join lateral (
    select array_agg(o.name order by o.name collate "C") as projects, bool_or(o.locked) as locked
    from project_item n join project o on o.id = n.project_id where n.item_id = i.id
) x on true
where i.kind = 'item'
order by i.name collate "C";

-- named_items: the items of these names, with the projects that they stand in, and whether one of these is locked.
select i.id, i.name, i.status, i.metadata, coalesce(x.projects, '{}') as projects, coalesce(x.locked, false) as locked
from item i
left join lateral (
    select array_agg(o.name order by o.name collate "C") as projects, bool_or(o.locked) as locked
    from project_item n join project o on o.id = n.project_id where n.item_id = i.id
) x on true
where i.kind = 'item' and i.name = any(%(names)s)
order by i.name collate "C";

-- item_files: the files of these items, each with the names of all that it belongs to; nothing of a locked project.
select s.name as source, f.key, f.size, f.etag, f.attributes, p.name as project, coalesce(f.changed_at, f.modified_at) as changed_at,
       o.items
from (select distinct x.file_id from item_file x where x.item_id = any(%(items)s)) mine
join file f on f.id = mine.file_id
join source s on s.id = f.source_id
left join project p on p.id = f.project_id
cross join lateral (
    select array_agg(i.name order by i.name collate "C") as items
    from item_file x join item i on i.id = x.item_id where x.file_id = f.id
) o
where p.locked is not true
order by s.name collate "C", f.key collate "C";

-- project_files: the files that belong to a project (or, without a name, to any or none) and to no item; nothing of a locked one.
select s.name as source, f.key, f.size, f.etag, f.attributes, p.name as project, coalesce(f.changed_at, f.modified_at) as changed_at,
       '{}'::text[] as items
from file f
join source s on s.id = f.source_id
left join project p on p.id = f.project_id
where (%(project)s::text is null or p.name = %(project)s) and not exists (select from item_file x where x.file_id = f.id)
  and (f.attributes ->> 'lock') is null and p.locked is not true
order by s.name collate "C", f.key collate "C";
