//! Every future under every design as one table, for analysts: CSV and Parquet with the same columns. A row is a path
//! under a design; what does not arise is an empty cell, null in Parquet.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

pub use parquet::errors::ParquetError;

use crate::answers::{Answers, Share, Table};
use crate::outcome::Metric;

/// A column of numbers.
#[derive(Clone, Debug, PartialEq)]
enum Column {
    Of(Metric),
    /// Of the instrument of that name, in designs that have it.
    Stake(String, Share),
}

impl Column {
    /// All of them: the metrics, then each instrument of any design.
    fn all(answers: &Answers) -> Vec<Column> {
        let mut columns = Metric::ALL.map(Column::Of).to_vec();
        for stake in answers.designs.iter().flat_map(|design| &design.stakes) {
            for share in Share::ALL {
                let column = Column::Stake(stake.name.clone(), share);
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
        columns
    }

    fn name(&self) -> String {
        match self {
            Column::Of(metric) => metric.meaning().key.to_owned(),
            Column::Stake(name, share) => format!("{} {name}", share.key()),
        }
    }

    /// Its values under a design, path by path.
    fn values<'a>(
        &self,
        answers: &Answers,
        table: &'a Table,
        design: usize,
    ) -> Box<dyn Iterator<Item = Option<f64>> + 'a> {
        let some = |value: f64| (!value.is_nan()).then_some(value);
        match self {
            Column::Of(metric) => Box::new(table.metric(design, *metric).map(some)),
            Column::Stake(name, share) => {
                match answers.designs[design].stakes.iter().position(|stake| stake.name == *name) {
                    Some(instrument) => Box::new(table.stake(design, instrument, *share).map(some)),
                    None => Box::new(std::iter::repeat_n(None, table.paths())),
                }
            }
        }
    }
}

/// Writes CSV. A name that a spreadsheet would take for a formula gets an apostrophe before it.
pub fn write_csv(answers: &Answers, table: &Table, out: impl Write) -> Result<(), csv::Error> {
    let columns = Column::all(answers);
    let mut writer = csv::Writer::from_writer(out);
    let names = columns.iter().map(Column::name);
    writer.write_record(["path", "design"].map(str::to_owned).into_iter().chain(names))?;
    for (design, shown) in answers.designs.iter().enumerate() {
        let name = inert(&shown.name);
        let mut values: Vec<_> = columns.iter().map(|column| column.values(answers, table, design)).collect();
        for path in 0..table.paths() {
            writer.write_field(path.to_string())?;
            writer.write_field(&name)?;
            for column in &mut values {
                writer.write_field(
                    column.next().flatten().map_or_else(String::new, |value| value.to_string()),
                )?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
    }
    writer.flush()?;
    Ok(())
}

fn inert(name: &str) -> String {
    let first = name.trim_start().chars().next();
    let is_formula = first.is_some_and(|first| "=+-@＝＋－＠".contains(first));
    if is_formula || name.starts_with(['\t', '\r']) { format!("'{name}") } else { name.to_owned() }
}

/// Writes Parquet, compressed by Snappy, a row group for each design.
pub fn write_parquet(answers: &Answers, table: &Table, out: impl Write + Send) -> Result<(), ParquetError> {
    let columns = Column::all(answers);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(out, schema(&columns)?, Arc::new(properties))?;
    let paths: Vec<i64> = (0..).take(table.paths()).collect();
    for (design, shown) in answers.designs.iter().enumerate() {
        let mut group = writer.next_row_group()?;
        put::<Int64Type>(&mut group, &paths, None)?;
        let names = vec![ByteArray::from(shown.name.as_str()); table.paths()];
        put::<ByteArrayType>(&mut group, &names, None)?;
        for column in &columns {
            let values: Vec<Option<f64>> = column.values(answers, table, design).collect();
            let there: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
            let values: Vec<f64> = values.into_iter().flatten().collect();
            put::<DoubleType>(&mut group, &values, Some(&there))?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[T::T],
    there: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.expect("as many as the schema has");
    column.typed::<T>().write_batch(values, there, None)?;
    column.close()
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let path = Type::primitive_type_builder("path", Physical::INT64).with_repetition(Repetition::REQUIRED);
    let design = Type::primitive_type_builder("design", Physical::BYTE_ARRAY)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::String));
    let mut fields = vec![Arc::new(path.build()?), Arc::new(design.build()?)];
    for column in columns {
        let name = column.name();
        let field = Type::primitive_type_builder(&name, Physical::DOUBLE);
        fields.push(Arc::new(field.with_repetition(Repetition::OPTIONAL).build()?));
    }
    Ok(Arc::new(Type::group_type_builder("paths").with_fields(fields).build()?))
}
