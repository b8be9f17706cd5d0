using System.Text;

namespace Vmm.Devices;

/// <summary>
/// A snapshot while it is written: a directory beside the one that was asked for, <c>NAME.partial</c>, which gets its name when everything
/// in it is durable. What is left of a save that was killed is removed by the next one to the same name.
/// </summary>
internal sealed class SnapshotDirectory : IDisposable
{
    private const string Suffix = ".partial";

    private readonly string _parent;
    private readonly string _aside;
    private readonly OwnedFd _directory;
    private readonly List<OwnedFd> _files = [];
    private bool _committed;

    /// <summary>What makes and names it where the sandbox does not let this process.</summary>
    private readonly BrokerLink? _broker;

    private SnapshotDirectory(string path, OwnedFd directory, BrokerLink? broker = null) =>
        (Path, _parent, _aside, _directory, _broker) = (path, ParentOf(path) ?? "/", path + Suffix, directory, broker);

    /// <summary>Where it will be, as a full path.</summary>
    internal string Path { get; }

    /// <summary>Begins one.</summary>
    /// <exception cref="IOException">
    /// There is one, another process is about to make it, or the host refuses. Its HResult is the number of an <see cref="Errno"/>.
    /// </exception>
    internal static SnapshotDirectory Begin(string path)
    {
        string full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        if (BrokerLink.Current is { } broker)
        {
            int fd = broker.Ask(BrokerCall.Save, full, out Errno refused);
            return fd >= 0 ? new SnapshotDirectory(full, new OwnedFd(fd), broker) : throw Refused(path, refused);
        }
        if (ParentOf(full) is not { } parent || !Directory.Exists(parent)) throw Refused(path, Errno.NoEntry);
        if (MemoryCalls.StatPath(full, out _) == Errno.None) throw Refused(path, Errno.Exists);
        string aside = full + Suffix;
        Errno error = SnapshotCalls.MakeDirectory(aside);
        if (error is not (Errno.None or Errno.Exists)) throw new KernelException($"cannot make '{aside}'", error);
        OwnedFd directory = SnapshotCalls.OpenDirectory(aside) ?? throw new KernelException($"cannot open '{aside}'", CallResult.LastError);
        try
        {
            // Of two that save to the same name one has the lock; a third may have given the directory its name meanwhile.
            if (SnapshotCalls.TryLock(directory) != Errno.None || !IsAt(directory, aside)) throw Refused(path, Errno.Busy);
            RemoveFiles(aside);
            if (Directory.EnumerateFileSystemEntries(aside).FirstOrDefault() is { } strange)
                throw Refused(path, Errno.NotPermitted, $"'{strange}' is already there, and no save made it: remove it");
            return new SnapshotDirectory(full, directory);
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    /// <summary>What is open of it. It stays this object's.</summary>
    internal OwnedFd Opened => _directory;

    /// <summary>Whether a path is a file that a save makes in it.</summary>
    internal bool Takes(string path) =>
        System.IO.Path.GetDirectoryName(path) == _aside && IsOfSave(System.IO.Path.GetFileName(path));

    /// <summary>Makes a file in it.</summary>
    /// <returns>Stays the directory's.</returns>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal OwnedFd Create(string name)
    {
        string path = System.IO.Path.Combine(_aside, name);
        OwnedFd file = SnapshotCalls.MakeFile(path) ?? throw new KernelException($"cannot make '{path}'", CallResult.LastError);
        _files.Add(file);
        return file;
    }

    /// <summary>Makes a file in it of some bytes.</summary>
    /// <exception cref="KernelException">The host refuses, or has no room.</exception>
    internal void Create(string name, ReadOnlySpan<byte> bytes) => Write(Create(name), bytes, 0, name);

    /// <summary>Makes it durable, and gives it its name.</summary>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal void Commit()
    {
        foreach (OwnedFd file in _files) Check(SnapshotCalls.Sync(file), $"cannot make a file of '{_aside}' durable");
        Check(SnapshotCalls.Sync(_directory), $"cannot make '{_aside}' durable");
        if (_broker is not null)
        {
            _ = _broker.Ask(BrokerCall.Commit, Path, out Errno refused);
            Check(refused, $"cannot rename '{_aside}' to '{Path}'");
            _committed = true;
            return;
        }
        Check(SnapshotCalls.RenameToNew(_aside, Path), $"cannot rename '{_aside}' to '{Path}'");
        _committed = true;
        // What a symbolic link names, if it is one.
        using OwnedFd? parent = SnapshotCalls.OpenDirectory(System.IO.Path.Combine(_parent, "."));
        if (parent is not null) Check(SnapshotCalls.Sync(parent), $"cannot make '{_parent}' durable");
    }

    /// <summary>Removes it, unless it has its name.</summary>
    public void Dispose()
    {
        foreach (OwnedFd file in _files) file.Dispose();
        if (!_committed && _broker is not null)
        {
            _ = _broker.Ask(BrokerCall.Abandon, Path, out _);
        }
        else if (!_committed)
        {
            RemoveFiles(_aside);
            SnapshotCalls.RemoveDirectory(_aside);
        }
        _directory.Dispose();
    }

    /// <summary>Writes all of some bytes.</summary>
    internal static void Write(OwnedFd file, ReadOnlySpan<byte> bytes, long offset, string name)
    {
        while (bytes.Length > 0)
        {
            nint done = FileCalls.Write(file.Number, bytes, offset, out Errno error);
            if (error == Errno.Interrupted) continue;
            if (done <= 0) throw new KernelException($"cannot write '{name}' of the snapshot", error);
            bytes = bytes[(int)done..];
            offset += done;
        }
    }

    private static void RemoveFiles(string directory)
    {
        foreach (string path in Directory.EnumerateFiles(directory))
        {
            if (IsOfSave(System.IO.Path.GetFileName(path))) SnapshotCalls.RemoveFile(path);
        }
    }

    private static bool IsOfSave(string name) =>
        MachineSnapshot.Files.Contains(name) || name.StartsWith(SavedDisks.Prefix, StringComparison.Ordinal);

    private static string? ParentOf(string path) => System.IO.Path.GetDirectoryName(path);

    private static IOException Refused(string path, Errno why, string? more = null)
    {
        more ??= why switch
        {
            Errno.NoEntry => "its parent directory is not there: make it, or name another",
            Errno.Exists => "it is there already; give a name that is not, or remove it",
            Errno.Busy => "another save to it is running",
            Errno.NotPermitted => $"something is in '{path}{Suffix}' that no save made: remove it",
            _ => KernelException.Describe(why),
        };
        return new IOException($"cannot save to '{path}': {more}", (int)why);
    }

    private static bool IsAt(OwnedFd directory, string path) =>
        MemoryCalls.Stat(directory.Number, out FileStatus open) == Errno.None
        && MemoryCalls.StatPath(path, out FileStatus named) == Errno.None
        && (open.Device, open.Inode) == (named.Device, named.Inode);

    private static void Check(Errno error, string what)
    {
        if (error != Errno.None) throw new KernelException(what, error);
    }
}
