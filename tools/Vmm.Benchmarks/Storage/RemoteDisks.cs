using System.Globalization;

namespace Vmm.Benchmarks;

/// <summary>One disk that lives elsewhere, served by <c>vmm serve</c> and by <c>qemu-storage-daemon</c>.</summary>
internal sealed class RemoteDisks : IDisposable
{
    private const string StorageDaemon = "qemu-storage-daemon";

    /// <summary>What threads of librados and librbd are called (proc(5), comm), from their start.</summary>
    private static readonly string[] ThreadsOfCeph =
    [
        "msgr-worker", "log", "service", "ceph_timer", "ms_dispatch", "ms_local", "fn-radosclient", "fn_anonymous", "io_context_pool",
        "tp_librbd", "taskfin_librbd", "taskfin_", "safe_timer", "rbd_timer", "admin_socket", "signal_handler",
    ];

    private static readonly TimeSpan IdleThreadsGo = TimeSpan.FromSeconds(30);

    private readonly List<MeasuredProcess> _processes = [];
    private readonly Folder _folder;
    private readonly MeasuredProcess? _vmm, _daemon;

    /// <param name="folder">For sockets.</param>
    /// <param name="path">The disk as we name it.</param>
    /// <param name="blockdev">The options of the other's block device, without <c>node-name</c>.</param>
    internal RemoteDisks(Folder folder, string path, string blockdev)
    {
        _folder = folder;
        _vmm = Start(Ours, PublishedTool.Path, "serve", PublishedTool.NoSandbox, "--blk", $"path={path},socket={Ours}");
        try
        {
            _daemon = Start(Theirs, StorageDaemon, "--blockdev", $"{blockdev},node-name=disk", "--export",
                $"type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path={Theirs}");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal string Ours => _folder.PathOf("ours");

    internal string Theirs => _folder.PathOf("theirs");

    /// <summary>
    /// Threads that are not librados' or librbd's: ours and the other's. Those of the runtime's pool that have nothing to do go after some
    /// twenty seconds: what is left is counted.
    /// </summary>
    internal (IReadOnlyList<string> Ours, IReadOnlyList<string> Theirs) OwnThreads
    {
        get
        {
            Thread.Sleep(IdleThreadsGo);
            return (Own(_vmm!), Own(_daemon!));
        }
    }

    /// <summary>Starts a program that listens at a socket.</summary>
    internal static MeasuredProcess Listen(string socket, params string[] command)
    {
        MeasuredProcess process;
        try
        {
            process = new(command);
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw Tool.Missing(command[0], missing);
        }
        StartedProgram.WaitForSocket(process, socket, TimeSpan.FromMilliseconds(5));
        return process;
    }

    public void Dispose()
    {
        foreach (MeasuredProcess process in _processes.Where(process => !process.HasExited)) process.End();
        _processes.ForEach(process => process.Dispose());
        File.Delete(Ours);
        File.Delete(Theirs);
    }

    private static IReadOnlyList<string> Own(MeasuredProcess process) => [.. process.ThreadNames.Where(name => !IsOfCeph(name)).Order()];

    /// <summary>A pool of Ceph's numbers its threads: <c>msgr-worker-0</c>.</summary>
    private static bool IsOfCeph(string name) =>
        ThreadsOfCeph.Any(known => name == known || (name.StartsWith(known, StringComparison.Ordinal) && name[known.Length] is '-' or '_'));

    private MeasuredProcess Start(string socket, params string[] command)
    {
        MeasuredProcess process = Listen(socket, command);
        _processes.Add(process);
        return process;
    }
}

/// <summary>A directory of a benchmark's own, gone afterwards.</summary>
internal sealed class Folder : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-storage-");

    internal string PathOf(string name) => Path.Combine(_directory.FullName, name);

    internal string PathOf(int number) => PathOf(number.ToString(CultureInfo.InvariantCulture));

    public void Dispose() => _directory.Delete(recursive: true);
}
