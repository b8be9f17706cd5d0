using System.Globalization;
using System.Text;

namespace Vmm.Tests;

/// <summary>
/// What is done to a disk before its power is cut: in each step a file is written and synced, and a row is inserted into a database in WAL mode.
/// Every seventh step deletes an older file. The step is acknowledged when both calls said that it is durable.
/// </summary>
internal static class PowerCutWork
{
    internal const int DiskBytes = 24 << 20, Rows = 60, FileBytes = 3000;

    /// <summary>Every so many steps a file is deleted: the one that is <see cref="DeletedBefore"/> steps older.</summary>
    internal const int DeletedEvery = 7, DeletedBefore = 5;

    internal const string DatabaseName = "rows.db";

    /// <summary>Before the first step: small enough that its log is reset several times.</summary>
    internal const string Prepare =
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=20; PRAGMA synchronous=FULL; CREATE TABLE rows(id INTEGER PRIMARY KEY, content BLOB);";

    internal static string Insert(int row) => string.Create(CultureInfo.InvariantCulture, $"INSERT INTO rows VALUES({row}, zeroblob({100 * (row % 10)}));");

    internal static string FileName(int row) => string.Create(CultureInfo.InvariantCulture, $"file{row}");

    /// <summary>What <c>yes ROW</c> prints.</summary>
    internal static byte[] Content(int row)
    {
        string line = string.Create(CultureInfo.InvariantCulture, $"{row}\n");
        return Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(line, (FileBytes / line.Length) + 1))[..FileBytes]);
    }

    /// <summary>Whether a step deletes this step's file, which may happen before or after the cut.</summary>
    internal static bool MayBeDeleted(int row) => (row + DeletedBefore) % DeletedEvery == 0;
}
