-- Statements that take a project away, with what belongs to it alone.

-- hold: a project as it is until the transaction ends.
select id, name, title, locked from project where name = %(name)s for update;

-- touches: what goes with a project, and what stays.
with members as materialized (
    select i.id, exists (select from project_item o where o.item_id = i.id and o.project_id <> %(project)s) as elsewhere,
           exists (select from batch_item b where b.item_id = i.id) or exists (select from task t where t.item_id = i.id)
           or exists (select from past_step s where s.item_id = i.id) as worked
    from project_item x join item i on i.id = x.item_id where x.project_id = %(project)s
)
select (select count(*) from members where not elsewhere and not worked) as items,
       (select count(*) from members where elsewhere) as items_elsewhere,
       (select count(*) from members where worked and not elsewhere) as items_with_history,
       (select count(*) from file where project_id = %(project)s) as files,
       (select coalesce(sum(downloads), 0)::bigint from computed_file where project_id = %(project)s) as downloads;

-- computed_files: the packages of a project whose objects may still be there.
select c.id, c.package, c.name, c.store, c.key, c.size, c.replaced_at from computed_file c
where c.project_id = %(project)s and c.removed_at is null order by c.name, c.id;

-- remove_computed_files: forget the packages of a project.
delete from computed_file where project_id = %(project)s;

-- remove_items: take away the items that stand in no other project and that nothing was ever done to; all leave this one.
with members as materialized (
    select x.item_id as id from project_item x where x.project_id = %(project)s
),
own as materialized (
    select m.id from members m
    where not exists (select from project_item o where o.item_id = m.id and o.project_id <> %(project)s)
      and not exists (select from batch_item b where b.item_id = m.id)
      and not exists (select from task t where t.item_id = m.id)
      and not exists (select from past_step s where s.item_id = m.id)
),
bare as (
    update item i set metadata = i.metadata - array(
        select k from jsonb_array_elements_text(d.keys) k
        where not exists (select from described o where o.item_id = i.id and o.id <> d.id and o.keys ? k))
    from described d
    where d.project_id = %(project)s and d.item_id = i.id and d.keys <> '[]' and i.id not in (select id from own)
),
gone as (
    delete from item i using own o where i.id = o.id returning 1
)
select count(*) as n from gone;

-- remove_project: take a project away; its files stay, and belong to none.
with gone as (
    delete from project where id = %(project)s returning id, name
)
insert into change (kind, project_id, state, name) select 'project', id, 'deleted', name from gone;
