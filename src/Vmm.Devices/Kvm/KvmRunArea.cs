namespace Vmm.Devices.Kvm;

/// <summary>
/// The mapping of a vCPU's run area. Not thread-safe but for <see cref="SetImmediateExit"/>, which its owner keeps from racing with
/// dispose.
/// </summary>
internal sealed unsafe class KvmRunArea : IDisposable
{
    internal const int MmioDataOffset = 40;

    private readonly int _length;
    private KvmRun* _run;

    internal KvmRunArea(int vcpu, int length)
    {
        nint area = MemoryCalls.Map(0, (nuint)length, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE, MemoryCalls.MAP_SHARED, vcpu, 0);
        if (area == MemoryCalls.MapFailed) throw new KernelException("cannot map the run area of a vCPU", CallResult.LastError);
        _run = (KvmRun*)area;
        _length = length;
    }

    /// <summary>The shared structure. The kernel writes it only while KVM_RUN runs.</summary>
    internal ref KvmRun Run
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        // SAFETY: mapped until Dispose, which the owner calls when no vCPU runs; the mapping is larger than the structure.
        get => ref Unsafe.AsRef<KvmRun>(_run);
    }

    /// <summary>The bytes of the MMIO access that <see cref="Run"/> describes: 1 to 8, as the kernel said.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    // SAFETY: mmio.data lies at byte 40 and has 8 bytes (ABI test); a longer length is cut.
    internal Span<byte> MmioData(uint length) => new((byte*)_run + MmioDataOffset, (int)Math.Min(length, sizeof(ulong)));

    /// <summary>The bytes of a port access.</summary>
    /// <exception cref="InvalidOperationException">The kernel described bytes outside of the area.</exception>
    internal Span<byte> PortData(in KvmRunIo io)
    {
        ulong length = (ulong)io.Size * io.Count;
        if (io.DataOffset > (ulong)_length || length > (ulong)_length - io.DataOffset)
            throw new InvalidOperationException($"KVM described {length} bytes at {io.DataOffset} of a run area of {_length}");
        // SAFETY: checked to lie inside of the mapping just now.
        return new((byte*)_run + io.DataOffset, (int)length);
    }

    /// <summary>Makes the next KVM_RUN return at once, or the one that is about to start. Any thread.</summary>
    // SAFETY: mapped until Dispose; a one-byte store is atomic.
    internal void SetImmediateExit(bool on) => Volatile.Write(ref _run->ImmediateExit, on ? (byte)1 : (byte)0);

    public void Dispose()
    {
        if (_run is null) return;
        // SAFETY: mapped by the constructor with this length, unmapped once.
        _ = MemoryCalls.Unmap((nint)_run, (nuint)_length);
        _run = null;
    }
}
