-- Which items have which value of a declared field, a bit for each: 32,000 ids to a row. By them lists of a large site are
-- counted and narrowed. They are made after the fact, stretch by stretch; a stretch in which anything was written since is
-- looked through item by item. What stands in braces is put together by `catalogue/field_bits.py` and `browsing_bits.py`.

-- aggregate: the bits of some places.
do $$ begin
    execute format('create aggregate tidemill_fields.bits_of(int, int) '
                   '(sfunc = set_bit, stype = bit, combinefunc = bitor, initcond = %L, parallel = safe)', repeat('0', {span}));
exception when duplicate_function then null;
end $$;

-- stale: the stretches in which something was written since their bits were made, and when the duty first saw that it was: a
-- time that the writer sets would be the one at which its transaction began, however long that took.
create table {stale} (stretch int not null, seen timestamptz);

-- statistics: plans must know that there are few stretches, or no two processes look through the items.
create statistics {name} on ((item_id / {span})::int) from {records};

-- bits: which items of a stretch have a value.
create table {bits} (stretch int not null, value {type}, bits bit({span}) not null);

-- store: keep them as they are; or pressed, where there are so many values that each has few items.
alter table {bits} alter bits set storage {storage};

-- index: find them by a value, or a stretch.
create index on {bits} (value);

-- index_stretch: see `index`.
create index on {bits} (stretch);

-- note: a part of `field_index.count`.
insert into {stale} (stretch) select distinct item_id / {span} from {changed};

-- seen: note of new notes that they are there.
update {stale} set seen = now() where seen is null;

-- quiet: the stretches whose bits can be made anew: where nobody has written for some seconds.
select stretch from {stale} group by stretch
having count(*) = count(seen) and max(seen) <= now() - make_interval(secs => %(seconds)s) order by stretch;

-- crowd: how many notes there are of how many stretches.
select count(*) as rows, count(distinct stretch) as different from {stale};

-- fold: one note of each stretch is enough.
with gone as (delete from {stale} returning stretch, seen)
insert into {stale} (stretch, seen)
select stretch, case when count(*) = count(seen) then max(seen) end from gone group by stretch;

-- fresh: nothing was written in this stretch, as far as this transaction sees; what it does not know stays noted.
delete from {stale} where stretch = {stretch} and seen is not null;

-- empty: take out what a stretch had.
delete from {bits} where stretch = {stretch};

-- fill: the bits of a stretch as its items are.
insert into {bits} (stretch, value, bits)
select {stretch}, r.value, tidemill_fields.bits_of((r.item_id - {low})::int, 1)
from (select r.item_id, {value} as value from {records} r where r.item_id >= {low} and r.item_id < {low} + {span}) r group by r.value;

-- part: the part that a value falls into.
width_bucket({value}, {bounds}::{type})

-- bounds: values of some of the items, from all over, at which about as many of them are parted.
select percentile_disc((select array_agg(n / {parts}::float8) from generate_series(1, {parts} - 1) n))
       within group (order by r.{column})::text[] as bounds
from {records} r tablesample bernoulli ((select least(100, 100.0 * {most} / greatest(count(*), 1)) from {records}));

-- some_stale: how many stretches must be looked through.
select count(distinct stretch) as total from {stale};

-- of_value: a part of `found`: what has a value that matches.
select t.stretch, t.bits from {bits} t where {matches}

-- among_values: a value is one of those that match; there are fewer of them than bits.
t.value = any(array(select v.value from {tally} v where {matches} group by v.value))

-- of_rows: a part of `found`: what is looked up item by item.
select (f.item_id / {span})::int as stretch, tidemill_fields.bits_of((f.item_id %% {span})::int, 1) as bits
from {records} f where {matches} group by 1

-- named: the item's name has the pieces that it must have for some letters to stand in it.
{id} in (select i.id from item i where name_grams(i.name) @> search_grams({given}))

-- look: bits of items that were found by looking at all of them, as text.
select stretch, bits::text as bits from ({rows}) found;

-- known: a part of `found`: what `look` found before.
select k.stretch, k.bits::bit({span}) from unnest({stretches}, {bits}) k(stretch, bits)

-- of_ids: a part of `found`: these items.
select (n / {span})::int as stretch, tidemill_fields.bits_of((n %% {span})::int, 1) as bits
from unnest({ids}::bigint[]) n group by 1

-- of_others: a part of `found`: all items but those.
select a.stretch, case when b.bits is null then a.bits else a.bits & ~b.bits end as bits
from (select stretch, bit_or(bits) as bits from {bits} group by stretch) a left join ({those}) b on b.stretch = a.stretch

-- rows: a part of `found`: what is looked up item by item.
{name} as materialized ({rows})

-- any_of: a part of `found`: one thing that must hold; any of these may be why it does.
{name} as materialized (select stretch, bit_or(bits) as bits from ({pieces}) piece group by stretch)

-- stale_rows: the items of stretches that are looked through: each found by its ids, whatever the plan would like (`offset 0`).
(select r.* from (select distinct stretch from {stale}) s
 cross join lateral (select * from {records} x
                     where x.item_id >= s.stretch * {span}::bigint and x.item_id < (s.stretch + 1) * {span}::bigint offset 0) r) f

-- clean: the bits for which all holds, where bits are good.
select stretch, {all} as bits from {first} {joins}
where not exists (select from {stale} s where s.stretch = {first}.stretch)

-- found: the bits of all items that match.
select stretch, bits from ({clean}) clean
union all
select (f.item_id / {span})::int, tidemill_fields.bits_of((f.item_id %% {span})::int, 1) from {stale_rows} where {matches} group by 1

-- page: how many items match, and the ids of a page of them, in order.
with {conditions}, found as materialized ({found}),
counted as materialized (
    select stretch, bits, bit_count(bits) as items, sum(bit_count(bits)) over (order by stretch) as upto from found
)
select (select coalesce(sum(items), 0) from counted)::bigint as total,
       array(select c.stretch * {span}::bigint + n from counted c cross join generate_series(0, {span} - 1) n
             where c.upto > %(offset)s and c.upto - c.items < %(offset)s::bigint + %(limit)s and get_bit(c.bits, n) = 1
             order by c.stretch, n
             offset %(offset)s - (select coalesce(max(upto), 0) from counted where upto <= %(offset)s)
             limit %(limit)s) as ids;

-- facet: a part of `facets`: how many of the items that match have which value, the most frequent first.
(select {number} as facet, to_jsonb(found.value) as value, sum(found.items)::bigint as total
 from (select t.value, sum(bit_count(t.bits & c.bits)) as items from {bits} t join ({clean}) c on c.stretch = t.stretch group by t.value
       union all
       select f.{column}, count(*) from {stale_rows} where {matches} group by f.{column}) found
 where found.items > 0 and {among} group by found.value order by total desc, found.value limit %(most)s)

-- facet_of_list: the same for each value of lists; one that has no list, or an empty one, counts as null.
(select {number} as facet, to_jsonb(e.value) as value, sum(found.items)::bigint as total
 from (select t.value, sum(bit_count(t.bits & c.bits)) as items from {bits} t join ({clean}) c on c.stretch = t.stretch group by t.value
       union all
       select f.{column}, count(*) from {stale_rows} where {matches} group by f.{column}) found
 left join lateral (select distinct x.value
                    from jsonb_array_elements_text(case jsonb_typeof(found.value) when 'array' then found.value end) x) e on true
 where found.items > 0 and {among} group by e.value order by total desc, e.value limit %(most)s)

-- facets: those of several fields.
with {conditions} {facets};
