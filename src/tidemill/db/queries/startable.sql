-- Statements that tell what a start would take in.

-- count: items of a batch that a pipeline has not done and is not doing (the same condition as runs.entrants).
select count(*) as items
from batch b join batch_item x on x.batch_id = b.id
where b.name = %(batch)s and not exists (
    select from task t join run r on r.id = t.run_id
    join pipeline_version v on v.id = r.pipeline_version_id join pipeline p on p.id = v.pipeline_id
    where t.item_id = x.item_id and t.state in ('done', 'waiting', 'running', 'submitted') and p.name = %(pipeline)s);
