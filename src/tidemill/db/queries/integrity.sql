-- Statements that look for records that contradict each other. Each gives rows with one column, `problem`; none when all is well.

-- newer_attempts: tasks whose attempts were claimed under fences that the task never had.
select 'task ' || t.id || ' has the fence ' || t.fence || ', but an attempt with the fence ' || max(a.fence) as problem
from task t join attempt a on a.task_id = t.id
group by t.id, t.fence having max(a.fence) > t.fence
order by t.id limit 100;

-- applied_twice: steps of which two results stand at once.
select 'task ' || task_id || ' holds ' || count(*) || ' results of step ' || step + 1 || ' at once' as problem
from attempt where outcome in ('done', 'skipped') and superseded_at is null
group by task_id, step having count(*) > 1
order by task_id, step limit 100;

-- steps_missing: tasks that went past a step without a result of it.
select 'task ' || t.id || ' stands at step ' || t.step + 1 || ' (' || t.state || ') with ' || count(a.task_id)
       || ' results behind it' as problem
from task t
left join attempt a on a.task_id = t.id and a.outcome in ('done', 'skipped') and a.superseded_at is null
group by t.id, t.step, t.state, t.entered_step
having count(a.task_id) <> case when t.entered_step > t.step then 0
                                else t.step + (t.state = 'done')::int - t.entered_step end
order by t.id limit 100;

-- wrong_document: tasks whose newest document is not what their last result put out.
select 'task ' || t.id || ' holds another document than its last result put out' as problem
from task t
join lateral (
    select coalesce(a.output, a.input) as output from attempt a
    where a.task_id = t.id and a.outcome in ('done', 'skipped') and a.superseded_at is null
    order by a.step desc limit 1
) last on true
where t.document <> last.output
order by t.id limit 100;

-- lost_documents: documents that an attempt or a task speaks of and that are not there.
select 'document ' || encode(named.sha256, 'hex') || ' is not there; ' || min(named.by) || ' speaks of it' as problem
from (
    select document as sha256, 'task ' || id as by from task
    union all select output, 'attempt ' || task_id || '-' || fence from attempt where output is not null
    union all select input, 'attempt ' || task_id || '-' || fence from attempt
) named
where not exists (select from document d where d.sha256 = named.sha256)
group by named.sha256 limit 100;

-- stray_items: tasks whose step is not a step of their run.
select 'task ' || t.id || ' stands at step ' || t.step + 1 || ' of a run with ' || r.steps as problem
from task t join run r on r.id = t.run_id where t.step >= r.steps
order by t.id limit 100;

-- closed_runs: runs that say they are over while tasks of theirs are not.
select 'run ' || r.id || ' is ' || r.state || ', but ' || count(*) || ' of its tasks are not over' as problem
from run r join task t on t.run_id = r.id and t.state in ('waiting', 'running', 'submitted')
where r.state <> 'active'
group by r.id, r.state order by r.id limit 100;

-- totals: runs whose number of tasks is not what they say.
select 'run ' || r.id || ' says it has ' || r.total || ' items and has ' || count(t.id) as problem
from run r left join task t on t.run_id = r.id
group by r.id, r.total having count(t.id) <> r.total order by r.id limit 100;

-- tallies: runs whose kept counts are not what their tasks add up to.
select 'run ' || run_id || ' is counted wrong: step ' || step + 1 || ', ' || state || ' is off by ' || sum(n) as problem
from (select run_id, step, state, tasks as n from tally
      union all select run_id, step, state, -count(*) from task group by run_id, step, state) both_counts
group by run_id, step, state having sum(n) <> 0 order by run_id, step limit 100;

-- documents: documents in order of their SHA-256, from :after on.
select sha256, encode(sha256, 'hex') as hex, size, body, location from document
where sha256 > decode(%(after)s, 'hex') order by sha256 limit %(n)s;
