using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

// What an operator does with a disk while it is served: it grows, is flushed, gets another medium.
public sealed partial class BlockDevice
{
    /// <summary>Opens another medium with the options of this one; null if it is not known how.</summary>
    internal Func<string, IBlockBackend>? OpenMedium { get; init; }

    /// <summary>Makes the disk larger, while it is used too: the driver learns of it. Any thread that may wait for storage.</summary>
    /// <param name="capacityBytes">A multiple of the disk's block.</param>
    /// <exception cref="ArgumentException">It is less than the disk has now, or no multiple of its block; the message says so.</exception>
    /// <exception cref="NotSupportedException">This kind of storage gets its size elsewhere; the message says where.</exception>
    /// <exception cref="IOException">The storage refused; the message says why.</exception>
    public void Grow(ulong capacityBytes)
    {
        if (capacityBytes < Backend.CapacityBytes)
            throw new ArgumentException($"disk '{Name}' has {Backend.CapacityBytes} bytes, and {capacityBytes} are fewer: a disk only "
                + "grows while it is served, for its guest may have data behind the new end");
        if (capacityBytes % Backend.LogicalBlockBytes != 0 || capacityBytes > long.MaxValue)
            throw new ArgumentException($"disk '{Name}' cannot have {capacityBytes} bytes: give a multiple of its block of "
                + $"{Backend.LogicalBlockBytes}");
        if (Backend.IsReadOnly) throw new NotSupportedException($"disk '{Name}' is read-only: its image stays as it is");
        Backend.Grow(capacityBytes);
    }

    /// <summary>Makes what was written durable. Any thread.</summary>
    /// <param name="reactor">The device's own.</param>
    /// <exception cref="InvalidOperationException">It is being flushed already, or gets another medium.</exception>
    /// <exception cref="IOException">The storage failed: what was written may be lost.</exception>
    /// <exception cref="TimeoutException">The storage does not answer; the flush goes on.</exception>
    public async Task FlushAsync(RemoteEndpoint reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        (BlockOperation flush, Errno errno) = await Medium.FlushAsync(reactor).ConfigureAwait(false);
        if (errno != Errno.None)
        {
            CountError(flush, errno);
            // Set, and never written back: a queue may set it at this moment.
            if (!flush.IsUnasked) HasLostWrites = true;
            throw new KernelException($"cannot flush {Backend.Description}", errno);
        }
        if (HasLostWrites) throw new IOException($"{Backend.Description} lost writes before: an earlier flush failed");
    }

    /// <summary>As <see cref="SwapAsync(IBlockBackend)"/>, with a medium that is opened as the one before was.</summary>
    /// <param name="path">A path or a URI, as <see cref="DiskSpec.Path"/> has it.</param>
    /// <exception cref="ArgumentException">It can't be this disk's medium; the message says why.</exception>
    /// <exception cref="NotSupportedException">The disk was made of a backend, not of a description.</exception>
    /// <exception cref="IOException">It can't be opened; the message says why.</exception>
    public async Task SwapAsync(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (OpenMedium is not { } open)
            throw new NotSupportedException($"disk '{Name}' was made of a backend: give it another backend");
        // Storage may take its time.
        IBlockBackend medium = await Task.Run(() => open(path)).ConfigureAwait(false);
        try
        {
            await SwapAsync(medium).ConfigureAwait(false);
        }
        catch
        {
            medium.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Gives the disk another medium: requests in flight complete on the one before, which is closed, and the driver learns of another
    /// capacity by an interrupt. Of other contents it does not learn: it must not have the disk in use. Any thread.
    /// </summary>
    /// <param name="medium">Taken over; stays the caller's if this throws.</param>
    /// <exception cref="ArgumentException">The driver works with what this medium does not have; the message says with what.</exception>
    /// <exception cref="InvalidOperationException">Another one is being put in, or it is being flushed.</exception>
    /// <exception cref="TimeoutException">Requests in flight do not complete: the disk goes on with the medium it has.</exception>
    public async Task SwapAsync(IBlockBackend medium)
    {
        ArgumentNullException.ThrowIfNull(medium);
        if (WhyNot(medium) is { } why) throw new ArgumentException($"{medium.Description} cannot be the medium of disk '{Name}': {why}");
        await Medium.SwapAsync(medium, Describe, () => InFlight).ConfigureAwait(false);
    }

    /// <summary>What the driver was promised, and the medium does not keep; null if it keeps all.</summary>
    private string? WhyNot(IBlockBackend medium) =>
        medium.LogicalBlockBytes != Backend.LogicalBlockBytes
            ? $"its blocks have {medium.LogicalBlockBytes} bytes, and the disk's {Backend.LogicalBlockBytes}"
        : medium.IsReadOnly != Backend.IsReadOnly
            ? medium.IsReadOnly ? "it is read-only, and the disk is not" : "it may be written, and the disk is read-only"
        : !medium.QueuesAreIndependent && Backend.QueuesAreIndependent && _queueCount > 1
            ? "one thread has to serve all of its queues: give the disk one queue"
        : null;

    /// <summary>Another medium is in now.</summary>
    private void Describe(IBlockBackend before)
    {
        IBlockBackend medium = Backend;
        before.CapacityChanged -= OnCapacityChanged;
        before.Noticed -= OnNoticed;
        lock (_capacityLock)
        {
            HasLostWrites = false;
            byte[] config = Configuration();
            // What the driver wrote there is its own.
            Config.Update(0, config.AsSpan(0, BlockProtocol.ConfigWriteback));
            Config.Update(BlockProtocol.ConfigWriteback + 1, config.AsSpan(BlockProtocol.ConfigWriteback + 1));
            ulong sectors = BinaryPrimitives.ReadUInt64LittleEndian(config);
            if (Limits is { } limits) Limits = limits with { CapacitySectors = sectors };
        }
        medium.CapacityChanged += OnCapacityChanged;
        medium.Noticed += OnNoticed;
        Logger.LogInformation(DeviceEvents.MediumChanged, "{Device}: {Before} was taken out, {Medium} of {Bytes} bytes is in now",
            Name, before.Description, medium.Description, medium.CapacityBytes);
        Driver?.Interrupt.SignalConfig();
    }
}
