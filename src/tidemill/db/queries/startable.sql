-- Statements that tell what a start would take in.

-- count: items of a batch that a pipeline has not done and is not doing (the same condition as runs.entrants). Where a run has
-- all of the items, as its tally says, only those that failed there or were cancelled need be looked at.
with wanted as materialized (
    select b.id as batch_id, p.id as pipeline_id,
           (select max(position) + 1 from batch_item x where x.batch_id = b.id) as size
    from batch b, pipeline p where b.name = %(batch)s and p.name = %(pipeline)s
),
whole as materialized (
    select r.id, r.steps, w.pipeline_id from wanted w
    join pipeline_version v on v.pipeline_id = w.pipeline_id
    join run r on r.batch_id = w.batch_id and r.pipeline_version_id = v.id
    where (select sum(tasks) from tally where run_id = r.id) = w.size
    order by r.id desc limit 1
)
select case when exists (select from whole) then (
    select count(*) from whole
    join task c on c.run_id = whole.id and c.step = any(array(select generate_series(0, whole.steps - 1)))
    where c.state in ('failed', 'cancelled') and (  -- one at a time, by index: joined, all tasks might be gone through
        select t.id from task t join run r on r.id = t.run_id join pipeline_version v on v.id = r.pipeline_version_id
        where t.item_id = c.item_id and t.state in ('done', 'waiting', 'running', 'submitted')
          and v.pipeline_id = whole.pipeline_id
        limit 1) is null
) else (
    select count(*) from wanted w join batch_item x on x.batch_id = w.batch_id
    where not exists (
        select from task t join run r on r.id = t.run_id join pipeline_version v on v.id = r.pipeline_version_id
        where t.item_id = x.item_id and t.state in ('done', 'waiting', 'running', 'submitted') and v.pipeline_id = w.pipeline_id)
) end as items;
