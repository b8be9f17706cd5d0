namespace Vmm.Devices.Kvm;

/// <summary>The host's KVM: <c>/dev/kvm</c>, open. It makes virtual machines. Thread-safe.</summary>
public sealed class KvmSystem : IDisposable
{
    /// <summary>Where the kernel offers KVM.</summary>
    public const string DefaultPath = "/dev/kvm";

    private const int ApiVersion = 12;
    private const int CpuidEntriesMax = 256;
    private const int MsrIndicesMax = 1024;

    private readonly OwnedFd _fd;

    private KvmSystem(OwnedFd fd, string path)
    {
        _fd = fd;
        Path = path;
    }

    /// <summary>Opens KVM.</summary>
    /// <param name="path">The device file.</param>
    /// <exception cref="KvmUnavailableException">It is absent, may not be opened, or can't do what this library needs.</exception>
    public static KvmSystem Open(string path = DefaultPath)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        int number = FileCalls.Open(path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC);
        if (number < 0) throw NotOpened(path, CallResult.LastError);
        KvmSystem system = new(new OwnedFd(number), path);
        try
        {
            system.CheckVersion();
            foreach (KvmCapability needed in Needed) system.Require(needed);
            return system;
        }
        catch
        {
            system.Dispose();
            throw;
        }
    }

    private static ReadOnlySpan<KvmCapability> Needed =>
        [KvmCapability.UserMemory, KvmCapability.ExtendedCpuid, KvmCapability.ImmediateExit, KvmCapability.MpState];

    /// <summary>The device file.</summary>
    public string Path { get; }

    /// <summary>Most vCPUs of one VM.</summary>
    public int VcpusMax => Math.Max(1, Check(KvmCapability.VcpusMax));

    /// <summary>Makes an empty virtual machine.</summary>
    /// <exception cref="KernelException">The kernel refused.</exception>
    public KvmVm CreateVm()
    {
        int number;
        // Interrupted while it starts up a kernel thread of its own: asked again, as often as it says so.
        do number = KvmCall.Control(_fd.Number, KvmRequest.KVM_CREATE_VM);
        while (number < 0 && CallResult.LastError == Errno.Interrupted);
        if (number < 0) throw new KernelException("cannot make a virtual machine", CallResult.LastError,
            "another hypervisor may hold the processor's extension");
        return new KvmVm(this, new OwnedFd(number));
    }

    /// <summary>What the kernel says of a capability: 0 for no, 1 or a number for yes.</summary>
    internal int Check(KvmCapability capability) =>
        Math.Max(0, KvmCall.Control(_fd.Number, KvmRequest.KVM_CHECK_EXTENSION, (nuint)capability));

    /// <summary>Insists on a capability.</summary>
    internal void Require(KvmCapability capability)
    {
        if (Check(capability) > 0) return;
        throw new KvmUnavailableException(KvmUnavailableReason.MissingCapability,
            $"the KVM of this kernel lacks {capability}, which is needed: use a newer kernel, or the run without KVM ('vmm run')");
    }

    /// <summary>Bytes of a vCPU's run area.</summary>
    internal int RunAreaLength
    {
        get
        {
            int length = KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_VCPU_MMAP_SIZE);
            return length > 0 ? length : throw new KernelException("KVM_GET_VCPU_MMAP_SIZE", CallResult.LastError);
        }
    }

    /// <summary>The CPUID leaves that this host's KVM can give a guest.</summary>
    public KvmCpuidEntry[] GetSupportedCpuid()
    {
        KvmCountHead head = new() { Count = CpuidEntriesMax };
        KvmCpuidEntry[] entries = new KvmCpuidEntry[CpuidEntriesMax];
        if (KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_SUPPORTED_CPUID, ref head, entries) < 0)
            throw new KernelException("KVM_GET_SUPPORTED_CPUID", CallResult.LastError);
        Array.Resize(ref entries, (int)head.Count);
        return entries;
    }

    /// <summary>The model-specific registers that a snapshot must hold.</summary>
    internal uint[] GetMsrIndices()
    {
        // struct kvm_msr_list: a count, then 32-bit indices with no padding in between.
        uint head = MsrIndicesMax;
        uint[] indices = new uint[MsrIndicesMax];
        if (KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_MSR_INDEX_LIST, ref head, indices) < 0)
            throw new KernelException("KVM_GET_MSR_INDEX_LIST", CallResult.LastError);
        Array.Resize(ref indices, (int)head);
        return indices;
    }

    /// <inheritdoc/>
    public void Dispose() => _fd.Dispose();

    private void CheckVersion()
    {
        int version = KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_API_VERSION);
        if (version == ApiVersion) return;
        throw new KvmUnavailableException(KvmUnavailableReason.WrongVersion, version < 0
            ? $"'{Path}' is not KVM: it has no version; name the device file of the kernel's KVM, usually {DefaultPath}"
            : $"'{Path}' speaks version {version} of the KVM interface, this program version {ApiVersion}: "
                + "use a Linux kernel from 2.6.22 on");
    }

    private static KvmUnavailableException NotOpened(string path, Errno errno) => errno switch
    {
        Errno.NoEntry or Errno.NoDevice or Errno.NoDeviceOrAddress => new(KvmUnavailableReason.Absent,
            $"there is no KVM at '{path}': load the module kvm-intel or kvm-amd, enable virtualization in the firmware, "
            + "or use the run without KVM ('vmm run')"),
        Errno.AccessDenied or Errno.NotPermitted => new(KvmUnavailableReason.NotPermitted,
            $"you may not open '{path}': join the group that owns it (usually 'kvm') and log in again"),
        _ => new(KvmUnavailableReason.NotOpened, $"cannot open '{path}': {new KernelException("open", errno).Message}"),
    };
}
