-- Statements of the view: items by the step that they have done last. Where a task stands says which step its newest success
-- can be of, so an index gives the candidates; each of them is then looked at (see `last_step` in `triggers.sql`).

-- candidates: items that may have done a step of this name last, from where their tasks stand; at most :most.
with lane as materialized (
    select r.id as run_id, s.position as step
    from step s join run r on r.pipeline_version_id = s.pipeline_version_id where s.name = any(%(names)s::text[])
)
select item_id as id from (
    select t.item_id from lane l cross join lateral (
        select t.item_id from task t
        where t.run_id = l.run_id and t.step = l.step and t.state = 'done' offset 0) t
    union all
    select t.item_id from lane l cross join lateral (
        select t.item_id from task t
        where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'failed' offset 0) t
    union all
    select t.item_id from lane l cross join lateral (
        select t.item_id from task t
        where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'cancelled' offset 0) t
    union all
    select t.item_id from lane l cross join lateral (
        select t.item_id from task t
        where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'waiting' offset 0) t
    union all
    select t.item_id from lane l cross join lateral (
        select t.item_id from task t
        where t.run_id = l.run_id and t.step = l.step + 1 and t.state in ('running', 'submitted') offset 0) t
    union all
    select t.item_id
    from lane l
    join attempt a on a.step = l.step + 1 and a.outcome = 'skipped' and a.superseded_at is null
    join task t on t.id = a.task_id and t.run_id = l.run_id
    union all
    select p.item_id from past_step p where p.name = any(%(names)s::text[])
) c
limit %(most)s;

-- carriers: the next :most tasks, by id, whose newest success may be of this step (no name: that may have none); `fits` where it is.
with lane as materialized (
    select r.id as run_id, s.position as step
    from step s join run r on r.pipeline_version_id = s.pipeline_version_id where s.name = %(name)s::text
    union all
    select r.id, -1 from run r where %(name)s::text is null
),
candidate as materialized (
    select c.id, c.item_id from (
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from task t
            where t.run_id = l.run_id and t.step = l.step and t.state = 'done' and t.id > %(after)s
            order by t.id limit %(most)s) t
        union
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from task t
            where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'failed' and t.id > %(after)s
            order by t.id limit %(most)s) t
        union
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from task t
            where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'cancelled' and t.id > %(after)s
            order by t.id limit %(most)s) t
        union
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from task t
            where t.run_id = l.run_id and t.step = l.step + 1 and t.state = 'waiting' and t.id > %(after)s
            order by t.id limit %(most)s) t
        union
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from task t
            where t.run_id = l.run_id and t.step = l.step + 1 and t.state in ('running', 'submitted') and t.id > %(after)s
            order by t.id limit %(most)s) t
        union
        select t.* from lane l cross join lateral (
            select t.id, t.item_id from attempt a join task t on t.id = a.task_id and t.run_id = l.run_id
            where a.step = l.step + 1 and a.outcome = 'skipped' and a.superseded_at is null and a.task_id > %(after)s
            order by a.task_id limit %(most)s) t
    ) c
    order by c.id limit %(most)s
)
select c.id, c.item_id, i.name, i.status, i.revision, n.finished_at,
       i.kind = 'item' and (%(statuses)s::text[] is null or i.status = any(%(statuses)s))
       and case when %(name)s::text is null
                then n.name is null and c.id = (select min(t.id) from task t where t.item_id = c.item_id)
                else coalesce(n.task_id = c.id and n.name = %(name)s::text, false) end as fits
from candidate c
cross join lateral (select * from item i where i.id = c.item_id offset 0) i
left join lateral last_step(c.item_id) n on true
order by c.id;

-- past_carriers: the next :most items, by id, that another system may have done a step of this name with last.
with candidate as materialized (
    select distinct p.item_id from past_step p where p.name = %(name)s::text and p.item_id > %(after)s
    order by p.item_id limit %(most)s
)
select c.item_id as id, c.item_id, i.name, i.status, i.revision, l.finished_at,
       (%(statuses)s::text[] is null or i.status = any(%(statuses)s)) and l.name = %(name)s::text and l.task_id is null as fits
from candidate c
cross join lateral (select * from item i where i.id = c.item_id offset 0) i
cross join lateral last_step(c.item_id) l
order by c.item_id;

-- untouched: the next :most items, by id, that are in no run and to which no other system did anything.
select i.id, i.id as item_id, i.name, i.status, i.revision, null::timestamptz as finished_at, true as fits
from item i
where i.id > %(after)s and i.kind = 'item' and (%(statuses)s::text[] is null or i.status = any(%(statuses)s))
  and not exists (select from task t where t.item_id = i.id) and not exists (select from past_step p where p.item_id = i.id)
order by i.id limit %(most)s;

-- odd: items of which the tallies alone do not tell the last step: in several runs, with skipped or past steps; at most :most.
select o.item_id from (
    (select t.item_id from task t where not exists (select from item i where i.kind = 'package' and i.id = t.item_id)
     group by t.item_id having count(*) > 1 limit %(most)s)
    union
    (select t.item_id from attempt a join task t on t.id = a.task_id
     where a.outcome = 'skipped' and a.superseded_at is null
       and not exists (select from item i where i.kind = 'package' and i.id = t.item_id) limit %(most)s)
    union
    (select p.item_id from past_step p limit %(most)s)
) o limit %(most)s;

-- counts: how many items have done which step last: from the tallies, but the odd ones, which are looked at one by one.
-- Packages are no items: runs of theirs do not count.
with tallied as (
    select s.name, sum(y.tasks) as items
    from tally y join run r on r.id = y.run_id
    join batch b on b.id = r.batch_id and not b.made_from ? 'packages'
    join step s on s.pipeline_version_id = r.pipeline_version_id
        and s.position = case when y.state = 'done' then y.step else y.step - 1 end
    group by s.name
),
counted_wrongly as (
    select s.name, -count(*) as items
    from unnest(%(odd)s::bigint[]) o(id)
    cross join lateral (select * from task t where t.item_id = o.id offset 0) t
    join run r on r.id = t.run_id
    join step s on s.pipeline_version_id = r.pipeline_version_id
        and s.position = case when t.state = 'done' then t.step else t.step - 1 end
    group by s.name
),
counted as (
    select l.name, count(*) as items from unnest(%(odd)s::bigint[]) o(id) cross join lateral last_step(o.id) l group by l.name
)
select c.name, sum(c.items)::bigint as items
from (select * from tallied union all select * from counted_wrongly union all select * from counted) c
where c.name is not null
group by c.name having sum(c.items) > 0 order by c.name;

-- items: how many items there are.
select count(*) as items from item where kind = 'item';
