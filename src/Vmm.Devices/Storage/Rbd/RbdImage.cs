using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>An open image of a Ceph cluster: the connection, the pool, the image, its lock. Closed once, in the opposite order.</summary>
internal sealed class RbdImage
{
    /// <summary>Longest time to open an image, and to close one.</summary>
    private static readonly TimeSpan OpenPatience = TimeSpan.FromSeconds(30), ClosePatience = TimeSpan.FromSeconds(10);

    /// <summary>Longest time to find a monitor, in seconds as Ceph's options have it.</summary>
    private const string MonitorSeconds = "10";

    /// <summary>What a client gets that the cluster has shut out: -ESHUTDOWN.</summary>
    internal const int ShutOut = -108;

    private readonly RbdAddress _address;

    /// <summary>Held by a call that waits for the cluster: the image is not closed under it.</summary>
    private readonly Lock _open = new();
    private nint _cluster, _pool;
    private ulong _watch;
    private bool _isWatched;

    private RbdImage(RbdAddress address) => _address = address;

    /// <summary>librbd's handle.</summary>
    internal nint Handle { get; private set; }

    /// <summary>Signalled by librbd when an operation is over.</summary>
    internal EventFd Completed { get; } = new();

    /// <summary>Signalled by librbd when the image's size, snapshots or features change.</summary>
    internal EventFd Changed { get; } = new();

    /// <summary>Opens an image. Waits for the cluster for <see cref="OpenPatience"/> at most.</summary>
    /// <param name="address">Which image.</param>
    /// <param name="readOnly">Whether it takes no writes.</param>
    /// <param name="patience">Longest time for an operation; <see cref="Timeout.InfiniteTimeSpan"/> to wait until the cluster is
    /// back.</param>
    /// <exception cref="DiskImageException">It can't be opened; the message says why.</exception>
    internal static RbdImage Open(RbdAddress address, bool readOnly, TimeSpan patience)
    {
        if (RbdCalls.WhyNot() is { } why) throw Refused(address, why);
        RbdImage image = new(address);
        // Some calls of the libraries wait for the cluster without an end: then this thread is left behind, and closes what it opened
        // late.
        Task opening = Task.Factory.StartNew(
            () => image.Open(readOnly, patience), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        bool isOver = Task.WaitAny([opening], OpenPatience) == 0;
        if (isOver && opening.IsCompletedSuccessfully) return image;
        _ = opening.ContinueWith(_ => image.CloseAll(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        if (isOver) opening.GetAwaiter().GetResult();
        throw Refused(address, $"the cluster did not open it within {OpenPatience.TotalSeconds:0} s: look at 'ceph -s', placement "
            + "groups may be inactive");
    }

    /// <summary>The image's size as the cluster has it. May wait for the cluster.</summary>
    internal bool TryGetSize(out ulong bytes)
    {
        bytes = 0;
        lock (_open) return Handle != 0 && RbdCalls.GetSize(Handle, out bytes) == 0;
    }

    /// <summary>Closes all of it. Waits for the cluster for <see cref="ClosePatience"/> at most.</summary>
    internal void Close()
    {
        Task closing = Task.Factory.StartNew(CloseAll, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        closing.Wait(ClosePatience);
    }

    private void Open(bool readOnly, TimeSpan patience)
    {
        Check(RbdCalls.Create(out _cluster, _address.User), "a connection cannot be prepared");
        int read = RbdCalls.ReadConfiguration(_cluster, _address.Configuration);
        if (read != 0)
        {
            string file = _address.Configuration ?? "/etc/ceph/ceph.conf";
            throw Refused(_address, $"the configuration '{file}' cannot be read: {Describe(read)}: name the cluster's with ?conf=PATH");
        }
        RbdCalls.Configure(_cluster, "client_mount_timeout", MonitorSeconds);
        RbdCalls.Configure(_cluster, "rados_mon_op_timeout", MonitorSeconds);
        if (patience != Timeout.InfiniteTimeSpan)
            RbdCalls.Configure(_cluster, "rados_osd_op_timeout", Math.Max(1, patience.TotalSeconds).ToString("0",
                CultureInfo.InvariantCulture));
        int connected = RbdCalls.Connect(_cluster);
        if (connected != 0) throw Refused(_address, WhyNotConnected((Errno)(-connected)));
        int pool = RbdCalls.OpenPool(_cluster, _address.Pool, out _pool);
        if (pool != 0)
        {
            throw Refused(_address, (Errno)(-pool) == Errno.NoEntry
                ? $"there is no pool '{_address.Pool}': correct the name (ceph osd pool ls), or make it"
                : $"pool '{_address.Pool}' cannot be used: {Describe(pool)}");
        }
        if (_address.Namespace.Length > 0) RbdCalls.SetNamespace(_pool, _address.Namespace);
        OpenImage(readOnly);
    }

    private void OpenImage(bool readOnly)
    {
        nint image;
        int opened = readOnly
            ? RbdCalls.OpenReadOnly(_pool, _address.Image, out image, _address.Snapshot)
            : RbdCalls.Open(_pool, _address.Image, out image, null);
        if (opened != 0) throw Refused(_address, WhyNotOpened((Errno)(-opened), readOnly));
        Handle = image;
        if (!readOnly) Lock(image);
        Check(RbdCalls.SetNotification(image, Completed.Number, RbdCalls.NotifyByEventFd), "librbd does not signal completions by an "
            + "eventfd");
        // librbd caches writes from the first flush on, lest it has a client that never asks for one. Ours has none: writes of a driver
        // that cannot flush are flushed one by one.
        if (!readOnly) Check(RbdCalls.FlushNow(image), "it cannot be flushed");
        // A read-only image has no watch: its user may not have the right to one.
        if (!readOnly) _isWatched = RbdCalls.Watch(image, out _watch, Changed) == 0;
    }

    /// <summary>Takes the image's lock for as long as it is open: no two may write to one image.</summary>
    private void Lock(nint image)
    {
        if (RbdCalls.GetFeatures(image, out ulong features) != 0 || (features & RbdCalls.FeatureExclusiveLock) == 0) return;
        int locked = RbdCalls.AcquireLock(image, RbdCalls.LockExclusive);
        if (locked == 0) return;
        throw Refused(_address, (Errno)(-locked) is Errno.Busy or Errno.ReadOnlyFileSystem or Errno.Again
            ? $"another client has locked the image: close it there (rbd lock ls {_address.Pool}/{_address.Image} shows who), or "
                + "attach it read-only"
            : $"the image cannot be locked: {Describe(locked)}");
    }

    private string WhyNotConnected(Errno error) => error switch
    {
        Errno.TimedOut => $"no monitor of the cluster answers within {MonitorSeconds} s: look at 'mon host' in its configuration, "
            + "and whether it runs",
        Errno.NoEntry => $"there is no key for client.{_address.User ?? "admin"}: put its keyring into /etc/ceph, or name another "
            + "user with ?id=NAME",
        Errno.NotPermitted or Errno.AccessDenied => $"the cluster does not accept client.{_address.User ?? "admin"}: its keyring "
            + $"here has no key of it, or another than the cluster (ceph auth get client.{_address.User ?? "admin"})",
        _ => $"the cluster cannot be reached: {KernelException.Describe(error)}",
    };

    private string WhyNotOpened(Errno error, bool readOnly)
    {
        string name = _address.Snapshot is { } snapshot ? $"'{_address.Image}@{snapshot}'" : $"'{_address.Image}'";
        return error switch
        {
            Errno.NoEntry => $"there is no image {name} in pool '{_address.Pool}': correct the name (rbd ls), or make it with rbd "
                + "create --size 10G",
            Errno.NotPermitted or Errno.AccessDenied =>
                $"client.{_address.User ?? "admin"} may not open it{(readOnly ? "" : " for writing")}: give it the caps 'profile "
                    + "rbd', or attach it read-only",
            _ => $"it cannot be opened: {KernelException.Describe(error)}",
        };
    }

    private void CloseAll()
    {
        lock (_open) CloseOpen();
    }

    private void CloseOpen()
    {
        if (Handle != 0)
        {
            if (_isWatched) _ = RbdCalls.Unwatch(Handle, _watch);
            _ = RbdCalls.Close(Handle);
        }
        if (_pool != 0) RbdCalls.ClosePool(_pool);
        if (_cluster != 0) RbdCalls.Shutdown(_cluster);
        (Handle, _pool, _cluster) = (0, 0, 0);
        Completed.Dispose();
        Changed.Dispose();
    }

    private void Check(int result, string what)
    {
        if (result < 0) throw Refused(_address, $"{what}: {Describe(result)}");
    }

    /// <summary>An error of the libraries as the kernel would say it: a client that the cluster has shut out gets ESHUTDOWN.</summary>
    private static string Describe(int result) => result == ShutOut
        ? "the cluster has put this client on its blocklist (ceph osd blocklist ls)"
        : KernelException.Describe((Errno)(-result));

    private static DiskImageException Refused(RbdAddress address, string why) => new($"disk '{address.Text}': {why}");
}
