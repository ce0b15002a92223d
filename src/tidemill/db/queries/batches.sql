-- Statements that make batches out of sets of items, and look at them.

-- from_ids: fill a batch with these item ids, in order; an id that comes again is left out.
with filled as (
    insert into batch_item (batch_id, position, item_id)
    select %(batch)s, row_number() over (order by nth) - 1, item
    from (select value::bigint as item, min(ordinality) as nth
          from json_array_elements_text(%(ids)s::json) with ordinality group by value) given
    returning 1
)
select count(*) as items from filled;

-- from_names: fill a batch with the items of these names, in order; a name that comes again is left out.
with filled as (
    insert into batch_item (batch_id, position, item_id)
    select %(batch)s, row_number() over (order by n.nth) - 1, i.id
    from (select value as name, min(ordinality) as nth
          from json_array_elements_text(%(names)s::json) with ordinality group by value) n
    join item i on i.name = n.name
    returning 1
)
select count(*) as items from filled;

-- from_project: fill a batch with the items of a project, in order of name.
with filled as (
    insert into batch_item (batch_id, position, item_id)
    select %(batch)s, row_number() over (order by i.name) - 1, i.id
    from project_item x join item i on i.id = x.item_id where x.project_id = %(project)s
    returning 1
)
select count(*) as items from filled;

-- from_batches: fill a batch with the items of others: the first one's in its order, then what the next one adds.
with filled as (
    insert into batch_item (batch_id, position, item_id)
    select %(batch)s, row_number() over (order by nth, position) - 1, item_id
    from (
        select distinct on (x.item_id) x.item_id, p.ordinality as nth, x.position
        from json_array_elements_text(%(parts)s::json) with ordinality p join batch_item x on x.batch_id = p.value::bigint
        order by x.item_id, p.ordinality, x.position
    ) united
    returning 1
)
select count(*) as items from filled;

-- differences: for each of several batches, how many items it has, how many stand in no other of them, and some of those.
with part as materialized (
    select value::bigint as batch_id, ordinality as nth from json_array_elements_text(%(parts)s::json) with ordinality
),
member as materialized (
    select p.nth, x.item_id, x.position, count(*) over (partition by x.item_id) as parts
    from part p join batch_item x on x.batch_id = p.batch_id
),
counted as (
    select nth, count(*) as size, count(*) filter (where parts = 1) as only_here, count(*) filter (where parts > 1) as shared
    from member group by nth
)
select b.name, l.name as pipeline, coalesce(c.size, 0) as size, coalesce(c.only_here, 0) as only_here,
       coalesce(c.shared, 0) as shared,
       (select coalesce(json_agg(few.name), '[]') from (
           select i.name from member m join item i on i.id = m.item_id
           where m.nth = p.nth and m.parts = 1 order by m.position limit %(examples)s
       ) few) as only_names
from part p join batch b on b.id = p.batch_id left join pipeline l on l.id = b.pipeline_id left join counted c on c.nth = p.nth
order by p.nth;

-- list: batches, newest first, with how far their items have come; an item counts as its newest task stands. Positions have no
-- gaps, so the last one tells the size. Where the last run has all of the items, its tally has it all.
select b.id, b.name, b.description, b.made_from, b.created_at, l.name as pipeline, n.size, r.runs, r.last_run,
       t.started, t.completed, t.successful, t.failed, n.size - t.started as not_started
from (
    select * from batch
    where (%(name)s::text is null or name = %(name)s) and (%(contains)s::text is null or name ilike %(contains)s)
    order by id desc limit %(limit)s offset %(offset)s
) b
left join pipeline l on l.id = b.pipeline_id
cross join lateral (select coalesce(max(position) + 1, 0)::bigint as size from batch_item x where x.batch_id = b.id) n
cross join lateral (
    select count(*) as runs, max(id) as last_run, array_agg(id) as ids from run where batch_id = b.id
) r
cross join lateral (select sum(tasks) as total from tally where run_id = r.last_run) last
cross join lateral (
    select coalesce(sum(tasks), 0)::bigint as started,
           coalesce(sum(tasks) filter (where state in ('done', 'failed', 'cancelled')), 0)::bigint as completed,
           coalesce(sum(tasks) filter (where state = 'done'), 0)::bigint as successful,
           coalesce(sum(tasks) filter (where state = 'failed'), 0)::bigint as failed
    from (
        select state, tasks from tally where run_id = r.last_run and last.total = n.size
        union all
        select newest.state, 1 from (
            select distinct on (t.item_id) t.state
            from unnest(r.ids) q(id)
            cross join lateral (select item_id, run_id, state from task where run_id = q.id order by position offset 0) t
            order by t.item_id, t.run_id desc
        ) newest
        where last.total is distinct from n.size
    ) stand
) t
order by b.id desc;

-- not_started: names of a batch's items that no run of the batch has taken in, in order.
select i.name from batch_item x join item i on i.id = x.item_id
where x.batch_id = %(batch)s
  and not exists (select from task t join run r on r.id = t.run_id where r.batch_id = x.batch_id and t.item_id = x.item_id)
  and not exists (  -- what need not be gone through: a run with all of them
      select from run r where r.batch_id = %(batch)s and (select sum(tasks) from tally where run_id = r.id)
          > (select max(position) from batch_item where batch_id = %(batch)s))
order by x.position limit %(limit)s;

-- items: the items of a batch in order, from position :after on.
select x.position, i.id, i.name, i.status, i.metadata from batch_item x join item i on i.id = x.item_id
where x.batch_id = %(batch)s and x.position > %(after)s order by x.position limit %(limit)s;
