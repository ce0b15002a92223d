-- Lists of projects, items and computed files as the portal shows them. What stands in braces is put together by
-- `catalogue/browsing.py`: `matches` and `order` from the pieces at the end, which look at a `value`.

-- site: what the site calls itself and its nouns, what it declares, and which packages it makes.
select title, vocabulary, fields, project_fields, tables, packages, portal, publishing from site;

-- copy: the newest copy of the declared fields that is whole.
select id, columns, bits, long from field_table where ready_at is not null order by id desc limit 1;

-- hidden: the projects that are not shown: locked before anything was loaded of them.
select id from project where locked and metadata = '{{}}' and title = '';

-- hidden_items: the items that stand in projects that are not shown, and in no other.
select x.item_id as id from project_item x where x.project_id = any(%(hidden)s::bigint[])
group by x.item_id
having not exists (select from project_item y where y.item_id = x.item_id and y.project_id <> all(%(hidden)s::bigint[]));

-- hidden_among: these items are.
{id} = any({hidden}::bigint[])

-- count: how many records of this kind match.
select count(*) as total from {records} where {matches};

-- page: the ids of a page of the records that match, in order.
select {id} as id from {records} where {matches} order by {order} limit %(limit)s offset %(offset)s;

-- page_begin: the same, found among the first records in that order, if there are enough.
select {id} as id from (select * from {records} where {begins} order by {order} limit {most}) {alias} where {matches}
order by {order} limit %(limit)s offset %(offset)s;

-- tally: how many items have a value that matches.
select coalesce(sum(t.items), 0)::bigint as total from {tally} t where {matches};

-- values: the values that match, and how many items have each.
select {value} as value, sum(t.items)::bigint as items from {tally} t where {matches}
group by t.value having sum(t.items) > 0 limit %(most)s;

-- tally_facet: how many items have which value, the most frequent first.
select t.value, sum(t.items)::bigint as total from {tally} t where {among} group by t.value having sum(t.items) > 0
order by total desc, value limit %(most)s;

-- tally_facet_of_list: the same for each value of lists.
select e.value, sum(t.items)::bigint as total from {tally} t
left join lateral (select distinct x.value from jsonb_array_elements_text(case jsonb_typeof(t.value) when 'array' then t.value end) x) e
    on true
where {among} group by e.value having sum(t.items) > 0 order by total desc, e.value limit %(most)s;

-- tally_options: the values that there are, in order.
select t.value from {tally} t where t.value is not null group by t.value having sum(t.items) > 0 order by 1 limit %(most)s;

-- tally_options_of_list: the values that there are in lists.
select e.value from {tally} t
cross join lateral jsonb_array_elements_text(case jsonb_typeof(t.value) when 'array' then t.value end) e
group by e.value having sum(t.items) > 0 order by 1 limit %(most)s;

-- facet: how many of the records that match have which value, the most frequent first.
select found.value, count(*) as total from (select {value} as value from {records} where {matches}) found
where {among} group by found.value order by total desc, value limit %(most)s;

-- facet_of_list: the same for each value of lists; one that has no list, or an empty one, counts as null.
select e.value, count(distinct found.id) as total
from (select {id} as id, {value} as value from {records} where {matches}) found
left join lateral jsonb_array_elements_text(case jsonb_typeof(found.value) when 'array' then found.value end) e on true
where {among} group by e.value order by total desc, e.value limit %(most)s;

-- items: these items, with their projects (those that are shown).
select i.id, i.name, i.status, i.metadata, i.revision, i.created_at, i.updated_at,
       (select coalesce(json_agg(json_build_object('id', p.id, 'name', p.name, 'title', p.title) order by p.name), '[]')
        from project_item x join project p on p.id = x.project_id
        where x.item_id = i.id and p.id <> all(%(hidden)s::bigint[])) as projects
from item i where i.id = any(%(ids)s::bigint[]);

-- projects: these projects, with how many items each has.
select p.id, p.name, p.title, p.metadata, p.locked, p.created_at,
       (select count(*) from project_item x where x.project_id = p.id) as items
from project p where p.id = any(%(ids)s::bigint[]);

-- members: the items of these projects, in order of name.
select x.project_id, i.id, i.name from project_item x join item i on i.id = x.item_id and i.kind = 'item'
where x.project_id = any(%(projects)s::bigint[]) order by x.project_id, i.name collate "C";

-- item_id: the id of an item that may be shown.
select i.id from item i where i.name = %(name)s and {matches};

-- project_id: the id of a project that may be shown.
select p.id from project p where p.name = %(name)s and {matches};

-- computed_files: these computed files, with their projects and the items of those that are made per item.
select c.id, c.package, c.name, c.store, c.key, c.size, c.sha256, c.attributes, c.files, c.created_at, c.updated_at, c.downloads,
       c.item_id, p.name as project,
       case when c.package = any(%(per_item)s::text[]) then
           (select coalesce(json_agg(i.name order by i.name), '[]')
            from computed_file_item x join item i on i.id = x.item_id where x.computed_file_id = c.id) end as items
from computed_file c left join project p on p.id = c.project_id
where c.id = any(%(ids)s::bigint[]) order by c.id;

-- computed_of_projects: the ids of these projects' own computed files.
select c.id, c.project_id as owner from computed_file c
where c.project_id = any(%(ids)s::bigint[]) and c.replaced_at is null and c.package <> all(%(others)s::text[])
order by c.id;

-- computed_of_items: the ids of the computed files that are made for these items, alone or with others.
select c.id, x.item_id as owner from computed_file_item x join computed_file c on c.id = x.computed_file_id
where x.item_id = any(%(ids)s::bigint[]) and c.replaced_at is null and c.package = any(%(per_item)s::text[])
order by c.id;

-- files_of_item: the original files of an item.
select f.id, s.name as source, f.key, f.size, f.etag, f.modified_at, f.attributes
from item_file x join file f on f.id = x.file_id join source s on s.id = f.source_id
where x.item_id = %(id)s order by f.key collate "C" limit %(limit)s offset %(offset)s;

-- files_of_project: the original files that a project's own keys name, those of its items among them.
select f.id, s.name as source, f.key, f.size, f.etag, f.modified_at, f.attributes
from file f join source s on s.id = f.source_id
where f.project_id = %(id)s order by f.key collate "C" limit %(limit)s offset %(offset)s;

-- weight_of_item: how many original files an item has, and their bytes.
select count(*) as files, coalesce(sum(f.size), 0)::bigint as size
from item_file x join file f on f.id = x.file_id where x.item_id = %(id)s;

-- weight_of_project: how many original files a project has, and their bytes.
select count(*) as files, coalesce(sum(f.size), 0)::bigint as size from file f where f.project_id = %(id)s;

-- totals: how much there is, in all.
select (select count(*) from project p where p.id <> all(%(hidden)s::bigint[])) as projects,
       (select count(*) from computed_file c where c.replaced_at is null and c.package <> 'dataset') as computed_files,
       (select coalesce(sum(c.size), 0)::bigint from computed_file c
        where c.replaced_at is null and c.package <> 'dataset') as size_in_bytes,
       (select coalesce(sum(c.downloads), 0)::bigint from computed_file c) as downloads;

-- options: the distinct values of a field over the records that match, in order, up to :most.
select distinct {value} as value from {records} where {matches} and {value} is not null order by 1 limit %(most)s;

-- options_of_list: the distinct values in lists.
select distinct e.value from {records}
cross join lateral jsonb_array_elements_text(case jsonb_typeof({value}) when 'array' then {value} end) e
where {matches} order by 1 limit %(most)s;

-- text_value: a declared text or date.
(({record} ->> {key}) collate "C")

-- number_value: a declared number; what is none counts as missing.
(case when jsonb_typeof({record} -> {key}) = 'number' then ({record} ->> {key})::numeric end)

-- yes_value: a truth value of a computed file, whose package says it only where it is so.
coalesce(({record} -> {key})::text = 'true', false)

-- boolean_value: a declared truth value.
(case when jsonb_typeof({record} -> {key}) = 'boolean' then ({record} ->> {key})::boolean end)

-- list_value: a declared list.
(case when jsonb_typeof({record} -> {key}) = 'array' then {record} -> {key} end)

-- all_items: what every list of items is of.
i.kind = 'item'

-- shown_items: items that are shown.
{id} <> all({hidden}::bigint[])

-- shown_projects: projects that are shown.
p.id <> all({hidden}::bigint[])

-- shown_files: computed files that people can have: current ones, and no datasets.
c.replaced_at is null and c.package <> 'dataset'

-- items_of_projects: items that stand in a project that matches.
{id} in (select x.item_id from project_item x join project p on p.id = x.project_id where {matches})

-- projects_of_items: projects in which an item stands that matches.
p.id in (select x.project_id from project_item x join item i on i.id = x.item_id and i.kind = 'item' where {matches})

-- files_of_projects: computed files of a project that matches.
c.project_id in (select p.id from project p where {matches})

-- files_of_items: computed files made for an item that matches.
c.id in (select x.computed_file_id from computed_file_item x join item i on i.id = x.item_id where {matches})
 and c.package = any({per_item}::text[])

-- name_search: the record's name or one of its declared texts contains this, whatever its case.
strpos(lower(concat_ws(e'\n', {values}) collate "default"), lower({given}::text collate "default")) > 0

-- has_letters: these letters stand in the value, whatever their case and its type.
strpos(lower({value}::text collate "default"), lower({given}::text collate "default")) > 0

-- is_null: there is no value.
{value} is null

-- is_not_null: there is one.
{value} is not null

-- exact: it is this.
{value} = {given}

-- in: it is one of these.
{value} = any({given})

-- iexact: it is this, whatever its case.
lower({value} collate "default") = lower({given}::text collate "default")

-- contains: this stands in it.
strpos({value}, {given}::text) > 0

-- icontains: this stands in it, whatever its case.
strpos(lower({value} collate "default"), lower({given}::text collate "default")) > 0

-- has_grams: it has the pieces that it must have for these letters to stand in it; this can be looked up in an index.
name_grams({value}) @> search_grams({given})

-- share: which share of the items has the rarest of the pieces that these letters have, as the last analyze saw it; none where
-- nothing is known, 0 where hardly any has it.
with known as (
    select e.piece, e.share from pg_stats s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) e(piece, share)
    where s.schemaname in ('tidemill_fields', current_schema()) and s.tablename = %(index)s
)
select (select min(coalesce(k.share, 0)) from unnest(search_grams(%(letters)s)) g(piece) left join known k on k.piece = g.piece) as share
where exists (select from known);

-- startswith: it begins with this.
starts_with({value}, {given}::text)

-- lowered: a text in small letters.
(lower({value} collate "default") collate "C")

-- istartswith: it begins with this, whatever its case.
starts_with(lower({value} collate "default"), lower({given}::text collate "default"))

-- gt: it comes after this.
{value} > {given}

-- gte: it is this, or comes after.
{value} >= {given}

-- lt: it comes before this.
{value} < {given}

-- lte: it is this, or comes before.
{value} <= {given}

-- list_all: the list has all of these.
{value} ?& {given}::text[]

-- list_in: the list has one of these.
{value} ?| {given}::text[]

-- list_any: one of the list's values matches.
exists (select from jsonb_array_elements_text({value}) e where {matches})
