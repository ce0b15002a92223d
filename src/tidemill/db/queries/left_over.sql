-- Statements about packages that are there, and that nothing calls for any more.

-- known: the next packages, datasets aside, that can be downloaded or that a run has made or is to make; of some projects if named.
select i.id, i.revision, i.name, i.metadata ->> 'package' as package, i.metadata ->> 'project' as project, c.size, c.downloads,
       open.run_id as run
from item i
left join computed_file c on c.item_id = i.id and c.replaced_at is null
left join lateral (
    select t.run_id from task t
    where t.item_id = i.id and t.state in ('waiting', 'running', 'submitted') order by t.run_id desc limit 1
) open on true
where i.kind = 'package' and i.name > %(after)s and i.metadata ->> 'package' <> 'dataset'
  and (%(projects)s::text[] is null or i.metadata ->> 'project' = any(%(projects)s))
  and (c.id is not null
       or exists (select from task t where t.item_id = i.id and t.run_id > coalesce((i.metadata ->> 'after_run')::bigint, 0)))
order by i.name limit %(n)s;

-- declared: the names of the packages that the site file declares.
select p ->> 'name' as name from site s, jsonb_array_elements(s.packages) p;

-- whereabouts: of these packages, in which projects their items stand now, and whether one stands in none.
select i.name, coalesce(array_agg(distinct p.name) filter (where p.name is not null), '{}') as projects,
       coalesce(bool_or(m.id is not null and x.item_id is null), false) as loose
from json_array_elements_text(%(names)s::json) w
join item i on i.name = w.value and i.kind = 'package'
left join lateral jsonb_array_elements_text(i.metadata -> 'items') held(name) on true
left join item m on m.name = held.name and m.kind = 'item'
left join project_item x on x.item_id = m.id
left join project p on p.id = x.project_id
group by i.name;

-- empty: those of these packages that held items, of which there is none any more.
select i.name from json_array_elements_text(%(names)s::json) w
join item i on i.name = w.value and i.kind = 'package'
where jsonb_array_length(coalesce(i.metadata -> 'items', '[]')) > 0
  and not exists (select from jsonb_array_elements_text(i.metadata -> 'items') held(name)
                  join item m on m.name = held.name and m.kind = 'item');

-- note: let the records of packages say why they are left over.
update item i set metadata = i.metadata || jsonb_build_object('left_over', r.why)
from json_to_recordset(%(rows)s::json) as r(item bigint, why text)
where i.id = r.item and i.kind = 'package' and i.metadata ->> 'left_over' is distinct from r.why;

-- noted: the packages whose records say that they are left over.
select i.id, i.name from item i
where i.kind = 'package' and i.metadata ? 'left_over'
  and (%(projects)s::text[] is null or i.metadata ->> 'project' = any(%(projects)s));

-- forget: these packages are called for again.
update item set metadata = metadata - 'left_over' where id = any(%(items)s::bigint[]) and kind = 'package';

-- count: how many packages with a current file are noted as left over, or are of a declaration that is gone. What is recorded of a
-- locked project, or holds items that stand in one, is not counted: nobody can tell.
with unwanted as materialized (
    select i.metadata from computed_file c join item i on i.id = c.item_id
    where c.replaced_at is null and i.metadata ->> 'package' <> 'dataset'
      and (i.metadata ? 'left_over'
           or not exists (select from site s where s.packages @> jsonb_build_array(jsonb_build_object('name', i.metadata -> 'package'))))
)
select count(*) as n from unwanted u
where not exists (select from project where locked)
   or not exists (select from project k where k.locked and k.name = u.metadata ->> 'project')
      and not exists (select from jsonb_array_elements_text(u.metadata -> 'items') held(name)
                      join item m on m.name = held.name and m.kind = 'item' join project_item x on x.item_id = m.id
                      join project k on k.id = x.project_id where k.locked);

-- retire: these packages, as they were looked at, are offered no more, and no result of a run that there is counts for them any
-- longer; which they are, and which file each had.
with held as materialized (
    select i.id from item i join json_to_recordset(%(rows)s::json) as r(item bigint, revision bigint) on r.item = i.id
    where i.kind = 'package' and i.revision = r.revision order by i.id for update of i
),
retired as (
    update item i
    set metadata = (i.metadata - 'left_over') || jsonb_build_object(
        'after_run', coalesce((select max(t.run_id) from task t where t.item_id = i.id), 0))
    from held where i.id = held.id returning i.id, i.name
),
noted as (
    insert into change (kind, item_id, state) select 'package', id, 'retired' from retired
),
gone as (
    update computed_file c set replaced_at = now() from retired r
    where c.item_id = r.id and c.replaced_at is null returning c.id, c.item_id
)
select r.id as item, r.name, g.id as file from retired r left join gone g on g.item_id = r.id order by r.name;

-- in_hand: the tasks of these packages that are not over.
select t.id as task, t.run_id as run from task t
where t.item_id = any(%(items)s::bigint[]) and t.state in ('waiting', 'running', 'submitted') order by t.run_id, t.id;

-- withdraw: what was published of this item alone is offered no more.
with alone as materialized (
    select c.id, c.item_id from computed_file_item x join computed_file c on c.id = x.computed_file_id
    where x.item_id = %(item)s and c.replaced_at is null and c.package <> 'dataset'
      and not exists (select from computed_file_item o where o.computed_file_id = c.id and o.item_id <> x.item_id)
),
marked as (
    update item i
    set metadata = (i.metadata - 'left_over') || jsonb_build_object(
        'after_run', coalesce((select max(t.run_id) from task t where t.item_id = i.id), 0))
    from alone where i.id = alone.item_id returning i.id
),
noted as (
    insert into change (kind, item_id, state) select 'package', id, 'retired' from marked
)
update computed_file c set replaced_at = now() from alone where c.id = alone.id;
