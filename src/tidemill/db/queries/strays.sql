-- Statements about what lies in stores of packages and no record points to.

-- places: the stores that packages were ever put into, and how each is reached.
select distinct on (store) store as url, options from computed_file order by store, id desc;

-- known: of what lies in a store (:found with n, key, name; :scheme as its URL has it) what is known of it: whether a computed file
-- whose bytes are there points to it; whether its package is in the works: a task is not over, or a late result may be promoted.
-- Whether a result is yet to be published, computed_files.due tells.
select f.n, i.id as item,
       exists (select from computed_file c where c.key = f.key and split_part(c.store, ':', 1) = %(scheme)s and c.removed_at is null)
           as pointed,
       exists (select from task t where t.item_id = i.id and t.state in ('waiting', 'running', 'submitted'))
       or exists (select from task t join attempt a on a.task_id = t.id
                  where t.item_id = i.id and a.outcome = 'late' and a.superseded_at is null) as busy
from json_to_recordset(%(found)s::json) as f(n int, key text, name text)
left join item i on i.name = f.name and i.kind = 'package';

-- plans: the plans that tasks of these packages were ever given; :kept are those whose packages were published, and whose files a
-- purge of their project has forgotten and left where they lie, also where a re-run had set aside the result before.
with given as (
    select t.item_id, a.input as plan,
           a.outcome = 'done' and t.run_id <= (i.metadata ->> 'after_run')::bigint
           and not exists (select from computed_file c where c.task_id = a.task_id and c.fence = a.fence) as kept
    from task t join attempt a on a.task_id = t.id join item i on i.id = t.item_id where t.item_id = any(%(items)s::bigint[])
    union
    select t.item_id, t.document, false from task t where t.item_id = any(%(items)s::bigint[]) and t.state <> 'done'
)
select encode(d.sha256, 'hex') as sha256, d.body, d.location, bool_or(coalesce(g.kept, false)) as kept
from given g join document d on d.sha256 = g.plan group by d.sha256;

-- hold: the package of this name, kept from other registrars, removers and planners until the transaction ends.
select id from item where name = %(name)s and kind = 'package' for update;
